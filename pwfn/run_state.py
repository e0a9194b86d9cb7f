"""Where a run is and what it has found out so far: what a checkpoint holds besides the network and its training."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from torch import Tensor

from pwfn.record import CLUSTER_COLUMNS, RoundRecord, Scores

PRETRAINING = -1


@dataclass
class Place:
    """How far a run is: in `round` (counted from 0; -1 = pretraining), the first `phase` fits of it are done.

    `epochs` counts the passes over the training images in the rounds so far, `train_seconds` the time of the present
    round's fits that are done, and `codebook` holds the centroids of the round before.
    """

    round: int = PRETRAINING
    phase: int = 0
    epochs: float = 0.0
    train_seconds: float = 0.0
    codebook: Tensor | None = None

    def next_round(self, codebook: Tensor | None) -> None:
        self.round, self.phase, self.train_seconds, self.codebook = self.round + 1, 0, 0.0, codebook


@dataclass
class RunState:
    """`before` holds the quantised means before the first round, `seconds` the time of the sessions before this one."""

    place: Place = field(default_factory=Place)
    baseline: Scores | None = None
    before: Tensor | None = None
    records: list[RoundRecord] = field(default_factory=list)
    clusters: list[dict[str, Any]] = field(default_factory=list)  # the rows of clusters.csv
    seconds: float = 0.0

    def add(self, record: RoundRecord, clusters: list[dict[str, Any]]) -> None:
        """A finished round, with the rows of its clusters."""
        self.records.append(record)
        self.clusters += [{**row, "round": record.round} for row in clusters]

    def as_dict(self) -> dict[str, Any]:
        """Plain values and tensors alone: a checkpoint is read by an unpickler that knows no class."""
        rows = [{key: column.kind(row[key]) for key, column in CLUSTER_COLUMNS.items()} for row in self.clusters]
        return {
            "place": dict(vars(self.place)),
            "baseline": asdict(self.baseline) if self.baseline else None,
            "before": self.before,
            "records": [record.flat() for record in self.records],
            "clusters": rows,
            "seconds": self.seconds,
        }

    @classmethod
    def from_dict(cls, saved: dict[str, Any]) -> RunState:
        return cls(
            place=Place(**saved["place"]),
            baseline=Scores(**saved["baseline"]) if saved["baseline"] else None,
            before=saved["before"],
            records=[RoundRecord.from_flat(row) for row in saved["records"]],
            clusters=saved["clusters"],
            seconds=saved["seconds"],
        )
