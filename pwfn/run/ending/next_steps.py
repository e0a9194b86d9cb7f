"""Say at the end of a run what can be done with it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from pwfn.config import program
from pwfn.config.wording.quoting import path_as_typed, shell_word
from pwfn.records.files import ARTIFACT


def next_steps(folder: Path, report: Path | None) -> Iterator[str]:
    """Yield the lines that a finished run ends with.

    Args:
        folder: of the run.
        report: its report, None where there is none.
    """
    place = Path(_shown(folder))
    yield "Next:"
    yield f"  load it     python -c {shell_word(f'import pwfn; model = pwfn.load({str(place / ARTIFACT)!r})')}"
    yield f"  measure it  {' '.join(program.typed('evaluate'))} {path_as_typed('run', str(place))}"
    if report is not None:
        yield f"  look at it  {_shown(report)} in a browser"


def _shown(path: Path) -> str:
    """Return a path as short as it can be typed from here."""
    absolute, here = Path(os.path.abspath(path)), Path.cwd()
    return os.path.relpath(absolute, here) if absolute.is_relative_to(here) else str(absolute)
