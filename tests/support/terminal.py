"""Read what the live view draws, line by line."""

from __future__ import annotations

import io

from rich.console import Console

from pwfn.monitoring.live_view import LiveView


def screen(view: LiveView, width: int = 100) -> list[str]:
    """What the view looks like now."""
    look = Console(file=io.StringIO(), width=width, legacy_windows=False)
    look.print(view)
    return look.file.getvalue().splitlines()  # type: ignore[attr-defined, no-any-return]
