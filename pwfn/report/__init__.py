"""Report any number of runs in report.html, one file that opens anywhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pwfn.errors import one_line

REPORT = "report.html"


def report_at_end(folder: Path, say: Callable[[str], None]) -> None:
    """Write the report of a run or a sweep that has just ended.

    Its results are safe: a report that fails is told to `say`, and nothing is raised.
    """
    path = folder / REPORT
    try:
        from pwfn.report.page import write_report  # plotly and the template engine are wanted only now

        write_report([folder], path)
    except Exception as error:  # whatever it is: a missing package, a full disk, a fault of the report itself
        reason = one_line(f"{type(error).__name__}: {error}", 300)
        say(f"warning: no {REPORT} ({reason}); once that is mended: python evaluate.py report={folder}")
        return
    say(f"Report: {path}")
