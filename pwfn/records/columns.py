"""Describe the columns of a table once: key, meaning, unit and type."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, astuple, dataclass, field, fields, is_dataclass
from typing import Any, Self


@dataclass(frozen=True)
class Column:
    """Describe one column of a table.

    Args:
        key: its name in rounds.csv, rounds.json and W&B.
        meaning: for people.
        unit: "percent", "bits/weight", ...
        kind: type of its values.
        optional: whether a value may be None (an empty cell).
    """

    key: str
    meaning: str
    unit: str
    kind: type[int] | type[float] | type[str] = float
    optional: bool = False

    def convert(self, value: Any) -> Any:
        """Convert a value to what is written."""
        return None if self.optional and value is None else self.kind(value)

    def read(self, row: Mapping[str, Any]) -> Any:
        """Take this column's value out of a row whose values may still be text, as those of a CSV file are.

        Raises:
            ValueError: where it is not of this column's kind.
        """
        if self.kind is str:
            return str(row[self.key])
        if self.optional and row[self.key] in (None, ""):
            return None
        try:
            value = self.kind(row[self.key])
            if isinstance(row[self.key], bool) or (self.kind is int and value != float(row[self.key])):
                raise ValueError
        except (TypeError, ValueError, OverflowError):
            allowed = "a whole number" if self.kind is int else "a number"
            raise ValueError(f"{self.key} = {row[self.key]!r}: must be {allowed}") from None
        return value


def whole(key: str, meaning: str, unit: str) -> Any:
    """Declare a field of a record that is one whole number.

    Args:
        key: Name of its column.
        meaning: A line for the documents.
        unit: The unit; of a number without one, what it counts.

    Returns:
        The field, as `dataclasses.field` does.
    """
    return field(metadata={"columns": (Column(key, meaning, unit, int),)})


def real(key: str, meaning: str, unit: str) -> Any:
    """Declare a field of a record that is one number.

    Args:
        key: Name of its column.
        meaning: A line for the documents.
        unit: The unit.

    Returns:
        The field, as `dataclasses.field` does.
    """
    return field(metadata={"columns": (Column(key, meaning, unit),)})


def later(column: Column) -> Any:
    """Declare a field that records of older versions do not have; its column is optional."""
    return field(default=None, metadata={"columns": (column,)})


def order_shares() -> dict[str, Any]:
    """Make the metadata of a field with the shares of orders 0 to 4; None where values have no order."""
    sits_on = ["zero", "one power of two", *(f"a sum of {word} powers of two" for word in ("two", "three", "four"))]
    meanings = [f"quantized weights fixed to {what}" for what in sits_on]
    columns = tuple(Column(f"order_{n}_share", meaning, "share", optional=True) for n, meaning in enumerate(meanings))
    return {"columns": columns, "join": lambda shares: None if None in shares else tuple(shares)}


@dataclass(frozen=True, kw_only=True)
class Record:
    """Be one row of a table: the metadata of each field of a subclass names the columns it fills."""

    @classmethod
    def columns(cls) -> dict[str, Column]:
        """Return every column by its key, in the order of the fields."""
        return {column.key: column for one in fields(cls) for column in one.metadata["columns"]}

    def flat(self) -> dict[str, Any]:
        """Convert to a row of numbers and strings; the keys are those of `columns`, in that order."""
        row: dict[str, Any] = {}
        for one in fields(self):
            value, columns = getattr(self, one.name), one.metadata["columns"]
            if is_dataclass(value) and not isinstance(value, type):
                value = astuple(value)
            cells = value if isinstance(value, tuple) else (value,) * (len(columns) if value is None else 1)
            row.update({column.key: column.convert(cell) for column, cell in zip(columns, cells, strict=True)})
        return row

    def numbers(self) -> dict[str, Any]:
        """Convert as `flat` does, without what is empty."""
        return {key: value for key, value in self.flat().items() if value is not None}

    @classmethod
    def from_flat(cls, row: Mapping[str, Any]) -> Self:
        """Convert back what `flat` gave, or a line of a CSV file.

        What has a default may be missing: older versions did not write it.

        Raises:
            ValueError: names the keys that are missing, unknown or have a wrong value.
        """
        known = cls.columns()
        later = {c.key for one in fields(cls) if one.default is not MISSING for c in one.metadata["columns"]}
        row = {**dict.fromkeys(later), **row}
        if missing := [key for key in known if key not in row]:
            raise ValueError(f"missing: {', '.join(missing)}")
        if unknown := [str(key) for key in row if key not in known]:
            raise ValueError(f"unknown: {', '.join(unknown)}")
        values: dict[str, Any] = {}
        for one in fields(cls):
            cells = [column.read(row) for column in one.metadata["columns"]]
            values[one.name] = one.metadata["join"](cells) if "join" in one.metadata else cells[0]
        return cls(**values)


def by_key(*columns: Column) -> dict[str, Column]:
    """Index a table's columns by their keys, in their order."""
    return {column.key: column for column in columns}


def csv_text(columns: Mapping[str, Column], rows: Iterable[Mapping[str, Any]]) -> str:
    """Return a CSV file of records; floats are written so that reading gives the same bits."""
    return csv_of(columns, ([column.convert(row[key]) for key, column in columns.items()] for row in rows))


def csv_of(headings: Iterable[Any], rows: Iterable[Iterable[Any]]) -> str:
    """Return the text of a CSV file with one line of headings."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(headings)
    writer.writerows(rows)
    return text.getvalue()
