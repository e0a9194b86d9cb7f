"""Hold the rows of a benchmark: what was measured, what it must reach, and whether it does."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Row:
    """Compare the median of `values` with `bound`; `seconds` are what the values come from."""

    what: str
    weights: str
    fraction: float
    bound: float
    at_least: bool = False
    values: list[float] = field(default_factory=list)
    seconds: dict[str, list[float]] = field(default_factory=dict)

    @property
    def measured(self) -> float:
        """Return the median of the values."""
        return statistics.median(self.values)

    @property
    def ok(self) -> bool:
        """Tell whether the median keeps to the bound."""
        return self.measured >= self.bound if self.at_least else self.measured <= self.bound

    def add(self, value: float, **seconds: float) -> None:
        """Add a value and the seconds it comes from."""
        self.values.append(value)
        for name, duration in seconds.items():
            self.seconds.setdefault(name, []).append(duration)

    def cells(self) -> tuple[str, ...]:
        """Return the row as a line of the table."""
        must = f"{'>=' if self.at_least else '<='} {self.bound:g}"
        spread = f"{min(self.values):.3g} to {max(self.values):.3g}"
        seconds = ", ".join(f"{name} {statistics.median(each):.3g}" for name, each in self.seconds.items())
        verdict = "pass" if self.ok else "**FAIL**"
        return self.what, self.weights, f"{self.fraction:g}", must, f"{self.measured:.3g}", spread, seconds, verdict

    def record(self) -> dict[str, Any]:
        """Return the row as JSON keeps it."""
        must = {"at_least" if self.at_least else "at_most": self.bound}
        summary = {"measured": self.measured, "min": min(self.values), "max": max(self.values), "ok": self.ok}
        what = {"what": self.what, "weights": self.weights, "fraction": self.fraction, "must_reach": must}
        return {**what, **summary, "values": self.values, "seconds": self.seconds}


def markdown(rows: list[Row]) -> str:
    """Return a Markdown table of the rows."""
    headings = ("what", "weights", "fraction", "must reach", "measured", "spread", "seconds", "")
    cells = [headings, *(row.cells() for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["| " + " | ".join(map(str.ljust, line, widths)) + " |" for line in cells]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([lines[0], rule, *lines[1:]]) + "\n"
