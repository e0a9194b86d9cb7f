"""Build the table that ends a sweep: a row for every job, its overrides and its result."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pwfn.records.columns import csv_of
from pwfn.records.files import JOBS, RESULT, write_text
from pwfn.sweep.job import STOPPED

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

# the table's order: the highest accuracy, by validation images where all jobs have some, then the lowest entropy first
ACCURACY, ENTROPY = ("clustered/val_top1", "clustered/top1"), "entropy_bits"
_FORMATS = dict.fromkeys(ACCURACY, ".2f") | {"top1_change": "+.2f", ENTROPY: ".3f", "artifact_mb": ".3f"}
_CSV = ("job", "status", "reason", "exit_code", "seconds", "folder")


class Row(NamedTuple):
    """Hold one job: `code` is its exit code or None if it did not end, `seconds` its last duration."""

    number: int
    overrides: list[str]
    folder: Path
    code: int | None
    seconds: float | None = None
    reason: str = ""

    @property
    def status(self) -> str:
        """Return done, failed, interrupted or not finished."""
        if self.code is None:
            return "not finished"
        return "done" if self.code == 0 else "interrupted" if self.code in STOPPED else "failed"

    @property
    def outcome(self) -> str:
        """Return what the figures do not tell; nothing if the job ended well."""
        if self.code is None or self.code == 0:
            return "" if self.code == 0 else self.status
        return f"{self.status.upper()}: {self.reason or f'exit code {self.code}'}"


def read_result(folder: Path) -> dict[str, Any]:
    """Read `objective` and `summary` of a job; an empty dict if it wrote none that can be read."""
    try:
        result = json.loads((folder / RESULT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return result if isinstance(result, dict) else {}


def in_order(rows: Sequence[Row]) -> list[Row]:
    """Sort by accuracy, then entropy; jobs without accuracy by number; those that did not end last."""
    by = ordered_by(rows)

    def place(row: Row) -> tuple[float, ...]:
        found = figures(row)
        accuracy = found.get(by, math.nan)
        entropy = found.get(ENTROPY, math.nan)
        known = not math.isnan(accuracy)
        worst = entropy if known and not math.isnan(entropy) else math.inf
        return (row.code != 0, row.code is None, not known, -accuracy if known else 0, worst, row.number)

    return sorted(rows, key=place)


def ordered_by(rows: Sequence[Row]) -> str:
    """Return the accuracy to sort jobs by: of validation images, where all measured jobs have some."""
    measured = [found for row in rows if (found := figures(row))]
    return next((name for name in ACCURACY if measured and all(name in found for found in measured)), ACCURACY[-1])


def sweep_table(rows: Sequence[Row]) -> Table:
    """Return a table of the differing overrides and the figures, a column each; the best job first."""
    rows = in_order(rows)
    keys, asked = differing([row.overrides for row in rows])
    found = [figures(row) for row in rows]
    names = _all_keys(found)
    table = new_table(keys, names)
    ended_well = all(row.code == 0 for row in rows)
    if not ended_well:
        table.add_column("", overflow="fold")
    for row, given, one in zip(rows, asked, found, strict=True):
        cells = [
            str(row.number),
            *(given.get(key, "") for key in keys),
            *(_number(name, one.get(name)) for name in names),
        ]
        add_row(table, [*cells, *([] if ended_well else [row.outcome])], style="" if row.code == 0 else "red")
    return table


def print_table(rows: Sequence[Row]) -> None:
    """Print the table, after an empty line."""
    table = sweep_table(rows)
    console = full_width(table)
    console.print()
    console.print(table)


def write_table(sweep: Path, rows: Sequence[Row], file: str = JOBS) -> None:
    """Write the table, whole at any moment, with unfinished jobs.

    Args:
        sweep: the folder.
        rows: one for each job.
        file: name of the JSON file; a CSV file of the same name lies beside it.
    """
    before = _seconds_before(sweep)
    entries = [_entry(row, sweep, before.get(row.number)) for row in in_order(rows)]
    write_text(sweep / file, json.dumps(entries, indent=1) + "\n")
    keys, asked = differing([entry["overrides"] for entry in entries])
    names = _all_keys([entry["summary"] for entry in entries])
    cells = (
        [*(entry[name] for name in _CSV), *map(given.get, keys), *map(entry["summary"].get, names)]
        for entry, given in zip(entries, asked, strict=True)
    )
    write_text((sweep / file).with_suffix(".csv"), csv_of([*_CSV, *keys, *names], cells))


def figures(row: Row) -> dict[str, int | float]:
    """Return the numbers of a finished job's summary."""
    summary = read_result(row.folder).get("summary") if row.code == 0 else None
    found = summary.items() if isinstance(summary, dict) else ()
    return {str(name): value for name, value in found if isinstance(value, int | float)}


def differing(jobs: Sequence[Sequence[str]]) -> tuple[list[str], list[dict[str, str]]]:
    """Return the keys that differ between the jobs, and each job's overrides by their keys."""
    asked = [dict(_key_and_value(line) for line in lines) for lines in jobs]
    return [key for key in _all_keys(asked) if len({job.get(key) for job in asked}) > 1], asked


def new_table(keys: Sequence[str], names: Sequence[str]) -> Table:
    """Return an empty table: job number, a column for each override of `keys` and figure of `names`."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column("job", justify="right", no_wrap=True)
    for key in keys:
        table.add_column(Text(_broken(key)), overflow="fold")
    for name in names:
        table.add_column(Text(_broken(name)), justify="right", overflow="fold")
    return table


def add_row(table: Table, cells: Sequence[str], style: str = "") -> None:
    """Add a row of text; rich would take square brackets for markup.

    Args:
        table: to add to.
        cells: of the row.
        style: in rich's words.
    """
    from rich.text import Text

    table.add_row(*map(Text, cells), style=style)


def full_width(table: Table) -> Console:
    """Return a console that gives files and pipes the table's full width, a narrow terminal its own."""
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console.width = console.measure(table, options=console.options.update(width=10_000)).maximum
    return console


def _entry(row: Row, sweep: Path, seconds_before: float | None) -> dict[str, Any]:
    return {
        "job": row.number,
        "status": row.status,
        "reason": row.reason or None,
        "exit_code": row.code,
        "seconds": round(row.seconds, 3) if row.seconds is not None else seconds_before,
        "folder": os.path.relpath(row.folder, sweep),
        "overrides": row.overrides,
        "objective": read_result(row.folder).get("objective") if row.code == 0 else None,
        "summary": figures(row),
    }


def _seconds_before(sweep: Path) -> dict[int, float | None]:
    """Return the seconds of the jobs that did not run this time."""
    try:
        entries = json.loads((sweep / JOBS).read_text(encoding="utf-8"))
        return {entry["job"]: entry["seconds"] for entry in entries}
    except (OSError, ValueError, TypeError, KeyError):
        return {}


def _all_keys(dicts: Sequence[dict[str, Any]]) -> list[str]:
    """Return all keys in the order in which they are first met."""
    return list(dict.fromkeys(key for one in dicts for key in one))


def _key_and_value(line: str) -> tuple[str, str]:
    key, _, value = line.partition("=")
    return key.lstrip("+~"), value


def _broken(key: str) -> str:
    """Break a heading to the width of its longest word."""
    return key.replace(".", ".\n").replace("/", "/\n").replace("_", "\n")


def _number(name: str, value: int | float | None) -> str:
    if value is None:
        return ""
    if name in _FORMATS:
        return format(value, _FORMATS[name])
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
