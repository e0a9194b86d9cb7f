"""Read the files of a run's folder, so that a damaged or missing one costs its own figures only."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml

from pwfn.errors import one_line
from pwfn.records.columns import Column

T = TypeVar("T")
Number = int | float | None
ERRORS = (OSError, ValueError, TypeError, KeyError, RecursionError, csv.Error, yaml.YAMLError)


@dataclass
class RunFiles:
    """Read files of `folder`; what is wrong with one goes to `problems`, and nothing is raised."""

    folder: Path
    problems: list[str] = field(default_factory=list)

    def json(self, name: str, kind: type[T]) -> T | None:
        """Read a JSON file whose outermost value is a `kind`; None if there is no such file."""
        return self.read(name, lambda path: _of_kind(json.loads(path.read_text(encoding="utf-8")), kind))

    def yaml(self, name: str, kind: type[T]) -> T | None:
        """Read a YAML file whose outermost value is a `kind`; None if there is no such file."""
        return self.read(name, lambda path: _of_kind(yaml.load(path.read_text(encoding="utf-8"), _YAML), kind))

    def table(self, name: str, columns: Mapping[str, Column]) -> list[dict[str, Any]]:
        """Read a CSV file; cells of columns that are not text are numbers, or None where they are not."""
        return self.rows(name, columns, self.read(name, _csv_rows) or [])

    def rows(self, name: str, columns: Mapping[str, Column], raw: list[Any]) -> list[dict[str, Any]]:
        """Return the cells that `columns` name, each of its kind or None.

        Args:
            name: the file, for the line of a problem.
            columns: the columns to read, by their keys.
            raw: its rows.
        """
        rows = [
            {key: _cell(column, row.get(key)) for key, column in columns.items()}
            for row in raw
            if isinstance(row, Mapping)
        ]
        needed = [key for key, column in columns.items() if not column.optional]
        lost = [key for key in needed if rows and all(row[key] is None for row in rows)]
        if lost or len(rows) < len(raw):
            self.problems.append(f"{name}: no figures in {', '.join(lost) or 'some of its rows'}")
        return rows

    def read(self, name: str, reader: Callable[[Path], T]) -> T | None:
        """Read a file by `reader`; None where there is no such file or it cannot be read."""
        path = self.folder / name
        try:
            return reader(path) if path.is_file() else None
        except ERRORS as error:
            self.problems.append(f"{name} cannot be read: {one_line(error)}")
            return None


def number(value: Any) -> Number:
    """Return a finite number, also one that is written as text; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    if not math.isfinite(found):
        return None
    return value if isinstance(value, int) else found


def _csv_rows(path: Path) -> list[dict[str | Any, str | Any]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, strict=True))


def _cell(column: Column, value: Any) -> Any:
    if column.kind is str:
        return None if value is None else str(value)
    found = number(value)
    return int(found) if found is not None and column.kind is int else found


def _of_kind(value: Any, kind: type[T]) -> T:
    if not isinstance(value, kind):
        raise ValueError(f"it holds no {'object' if kind is dict else kind.__name__}")
    return value


_YAML: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # a hundred configs take seconds without the C parser
