"""Where a run is and what it has found out so far: what a checkpoint holds besides the network and its training."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from torch import Tensor

from pwfn.clustering.codebook import Values
from pwfn.clustering.fitted_codebook import FittedValues
from pwfn.records.rounds import CLUSTER_COLUMNS, RoundRecord, Scores

PRETRAINING = -1


@dataclass
class Place:
    """How far a run is: in `round` (counted from 0; -1 = pretraining), the first `phase` fits of it are done.

    `epochs` counts the passes over the training images in the rounds so far, `train_seconds` the time of the present
    round's fits that are done, `codebook` holds the centroids of the round before, and `values` what was on offer then.
    """

    round: int = PRETRAINING
    phase: int = 0
    epochs: float = 0.0
    train_seconds: float = 0.0
    codebook: Tensor | None = None
    values: Values | None = None

    def next_round(self, codebook: Tensor | None, values: Values | None = None) -> None:
        self.round, self.phase, self.train_seconds, self.codebook = self.round + 1, 0, 0.0, codebook
        self.values = values

    def as_dict(self) -> dict[str, Any]:
        return {**vars(self), "values": self.values.as_dict() if self.values else None}

    @classmethod
    def from_dict(cls, saved: dict[str, Any]) -> Place:
        made = saved.get("values")  # nothing is saved of values that are known without the weights
        return cls(**{**saved, "values": FittedValues.from_dict(made) if made else None})


@dataclass
class RunState:
    """`before` holds the quantized means before the first round, `seconds` the time before it was resumed."""

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
        rows = [{key: column.plain(row[key]) for key, column in CLUSTER_COLUMNS.items()} for row in self.clusters]
        return {
            "place": self.place.as_dict(),
            "baseline": asdict(self.baseline) if self.baseline else None,
            "before": self.before,
            "records": [record.flat() for record in self.records],
            "clusters": rows,
            "seconds": self.seconds,
        }

    @classmethod
    def from_dict(cls, saved: dict[str, Any]) -> RunState:
        return cls(
            place=Place.from_dict(saved["place"]),
            baseline=Scores(**saved["baseline"]) if saved["baseline"] else None,
            before=saved["before"],
            records=[RoundRecord.from_flat(row) for row in saved["records"]],
            clusters=saved["clusters"],
            seconds=saved["seconds"],
        )
