"""Write tables in Markdown."""

from __future__ import annotations

from collections.abc import Sequence


def cell(text: str) -> str:
    """Return text for a cell of a Markdown table: no line breaks, no bars, no markup."""
    for sign in ("\\", "|", "<", "*", "_", "[", "]"):
        text = text.replace(sign, f"&#{ord(sign)};")
    return " ".join(text.split())


def code(text: str) -> str:
    """Return a text as code that may stand in a table."""
    text = text.replace("|", "\\|")
    return f"`` {text} ``" if "`" in text else f"`{text}`"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table, followed by an empty line."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
