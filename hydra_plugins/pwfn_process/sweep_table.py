"""The table that ends a sweep: a row for every job, with what it was asked and what it said in its result.json."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from rich.table import Table

RESULT = "result.json"


class Row(NamedTuple):
    """One job of a sweep; `code` is its exit code, None if it did not end."""

    number: int
    overrides: list[str]
    folder: Path
    code: int | None

    @property
    def outcome(self) -> str:
        """What the figures cannot say: nothing if the job ended well."""
        if self.code == 0:
            return ""
        return "not finished" if self.code is None else f"FAILED, exit code {self.code}"


def read_result(folder: Path) -> dict[str, Any]:
    """`objective` and `summary` of a job: what it wrote, or an empty dict if it wrote nothing that can be read."""
    try:
        result = json.loads((folder / RESULT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return result if isinstance(result, dict) else {}


def sweep_table(rows: Sequence[Row]) -> Table:
    """Overrides that differ between the jobs, then the figures of their summaries, a column each."""
    from rich import box
    from rich.table import Table

    asked = [dict(_key_and_value(line) for line in row.overrides) for row in rows]
    figures = [_figures(row) for row in rows]
    keys = [key for key in _in_order(asked) if len({job.get(key) for job in asked}) > 1]
    names = _in_order(figures)
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column("job", justify="right", no_wrap=True)
    for key in keys:
        table.add_column(_broken(key), overflow="fold")
    for name in names:
        table.add_column(_broken(name), justify="right", overflow="fold")
    ended_well = all(row.code == 0 for row in rows)
    if not ended_well:
        table.add_column("", no_wrap=True)
    for row, given, found in zip(rows, asked, figures, strict=True):
        cells = [str(row.number), *(given.get(key, "") for key in keys), *(_number(found.get(name)) for name in names)]
        table.add_row(*cells, *([] if ended_well else [row.outcome]), style="" if row.code == 0 else "red")
    return table


def print_table(rows: Sequence[Row]) -> None:
    """Print the table; a file or pipe gets its full width, whatever rich guesses, a narrow terminal a folded one."""
    from rich.console import Console

    console = Console()
    table = sweep_table(rows)
    if not console.is_terminal:
        console.width = console.measure(table, options=console.options.update(width=10_000)).maximum
    console.print()
    console.print(table)


def _figures(row: Row) -> dict[str, int | float]:
    summary = read_result(row.folder).get("summary") if row.code == 0 else None
    found = summary.items() if isinstance(summary, dict) else ()
    return {str(name): value for name, value in found if isinstance(value, int | float)}


def _in_order(dicts: Sequence[dict[str, Any]]) -> list[str]:
    """All keys, in the order in which they are first met."""
    return list(dict.fromkeys(key for one in dicts for key in one))


def _key_and_value(line: str) -> tuple[str, str]:
    key, _, value = line.partition("=")
    return key.lstrip("+~"), value


def _broken(key: str) -> str:
    """A heading as narrow as its longest word."""
    return key.replace(".", ".\n").replace("/", "/\n").replace("_", "\n")


def _number(value: int | float | None) -> str:
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
