"""Print text without markup, and tables at their full width also into a file or a pipe."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

TABLE_WIDTH = 80  # columns; what every terminal has


def show(console: Console, what: Table | str, style: str | None = None) -> None:
    """Print a line of text, or a table.

    Args:
        console: where; made at least `TABLE_WIDTH` wide for a table where it is no terminal.
        what: text, printed as it stands, or a table that was made for `TABLE_WIDTH` columns.
        style: of the text, in rich's words.
    """
    if isinstance(what, str):
        console.print(what, style=style, soft_wrap=True, markup=False, highlight=False)
        return
    if not console.is_terminal:
        # Into a file or pipe rich guesses some width, and would cut the table to it.
        console.width = max(console.width, TABLE_WIDTH)
    console.print(what)
