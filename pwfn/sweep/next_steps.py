"""Say at the end of a sweep what can be done with it and with its best run."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from pwfn.records.files import ARTIFACT
from pwfn.records.next_steps import next_steps
from pwfn.report import REPORT
from pwfn.sweep.table import ACCURACY, Row, figures, in_order, ordered_by

_IMAGES = dict(zip(ACCURACY, ("validation", "test"), strict=True))


def next_of_sweep(sweep: Path, rows: Sequence[Row]) -> Iterator[str]:
    """Yield the last lines of the sweep in `sweep`: its report, its best run, how to resume the rest."""
    report, best = sweep / REPORT, best_of(rows)
    title = "Next:"
    if best is not None:
        title = f"Next (of the runs, job {best.number} is the best by {_IMAGES[ordered_by(rows)]} images):"
    yield from next_steps(
        None if best is None else best.folder,
        report if report.is_file() else None,
        unfinished=sweep if any(row.code != 0 for row in rows) else None,
        title=title,
    )


def best_of(rows: Sequence[Row]) -> Row | None:
    """Return the most accurate run that has left an artifact, as the table orders them; None without one."""
    by = ordered_by(rows)
    judged = (row for row in in_order(rows) if math.isfinite(figures(row).get(by, math.nan)))
    runs = (row for row in judged if (row.folder / ARTIFACT).is_file())
    return next(runs, None)
