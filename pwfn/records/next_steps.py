"""Say at the end of a run or a sweep what can be done with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pwfn.config import program
from pwfn.config.wording.quoting import path_as_typed, shell_word
from pwfn.records.files import ARTIFACT


def next_steps(
    run: Path | None, report: Path | None, *, unfinished: Path | None = None, title: str = "Next:"
) -> Iterator[str]:
    """Yield the lines that a finished run or sweep ends with; none where there is nothing to do.

    Args:
        run: folder of the run whose network is to be used, None where there is none.
        report: of the run or the sweep, None where there is none.
        unfinished: folder of a sweep with jobs that are to be resumed.
        title: first line.
    """
    lines = []
    if run is not None:
        place = Path(program.as_short_as_typed(run))
        load = f"import pwfn; model = pwfn.load({str(place / ARTIFACT)!r})"
        lines.append(f"  load it     python -c {shell_word(load)}")
        lines.append(f"  measure it  {' '.join(program.typed('evaluate'))} {path_as_typed('run', str(place))}")
    if report is not None:
        lines.append(f"  look at it  {program.as_short_as_typed(report)} in a browser")
    if unfinished is not None:
        again = path_as_typed("resume_sweep", program.as_short_as_typed(unfinished))
        lines.append(f"  resume it   {' '.join(program.typed('train'))} -m {again}")
    yield from [title, *lines] if lines else []
