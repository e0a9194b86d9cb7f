"""Hold how far a run is and its results so far, and convert both for a checkpoint."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from torch import Tensor

from pwfn.clustering.codebooks.codebook import Values
from pwfn.clustering.codebooks.fitted_codebook import FittedValues
from pwfn.records.rounds import CLUSTER_COLUMNS, RoundRecord, Scores

PRETRAINING = -1


@dataclass
class Place:
    """Say how far a run is.

    Args:
        round: the present one, counted from 0; -1 is the pretraining.
        phase: how many fits of it are done.
        epochs: passes over the training images in the rounds so far.
        train_seconds: wall time of the finished fits of the present round.
        codebook: the centroids of the round before, sorted; None before there is one.
        values: the values that a weight could take in the round before; None before there are any.
    """

    round: int = PRETRAINING
    phase: int = 0
    epochs: float = 0.0
    train_seconds: float = 0.0
    codebook: Tensor | None = None
    values: Values | None = None

    def next_round(self, codebook: Tensor | None, values: Values | None = None) -> None:
        """Move to the beginning of the next round."""
        self.round, self.phase, self.train_seconds, self.codebook = self.round + 1, 0, 0.0, codebook
        self.values = values

    def as_dict(self) -> dict[str, Any]:
        """Convert to numbers, tensors and containers."""
        return {**vars(self), "values": self.values.as_dict() if self.values else None}

    @classmethod
    def from_dict(cls, saved: dict[str, Any]) -> Place:
        """Convert back what `as_dict` gave."""
        made = saved.get("values")  # nothing is saved of values that are known without the weights
        return cls(**{**saved, "values": FittedValues.from_dict(made) if made else None})


@dataclass
class RunState:
    """Hold what a checkpoint has besides the network and its training.

    Args:
        place: how far the run is.
        baseline: scores of the pretrained network; None before they are known.
        baseline_val: the same on the validation images; None where there are none.
        before: means of all quantized weights before the first round, flat, on the CPU; on rank 0 only.
        records: one for each finished round.
        clusters: rows of clusters.csv.
        seconds: wall time of the run, up to the last resume.
    """

    place: Place = field(default_factory=Place)
    baseline: Scores | None = None
    baseline_val: Scores | None = None
    before: Tensor | None = None
    records: list[RoundRecord] = field(default_factory=list)
    clusters: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0
    rate: float | None = None  # of second-order clustering, found for a budget
    before_finish: dict[str, Tensor] | None = None  # what is not quantized, while the finishing changes it

    def add(self, record: RoundRecord, clusters: list[dict[str, Any]]) -> None:
        """Add a finished round with the rows of its clusters."""
        self.records.append(record)
        self.clusters += [{**row, "round": record.round} for row in clusters]

    def as_dict(self) -> dict[str, Any]:
        """Convert to numbers, tensors and containers: the unpickler of a checkpoint knows no class."""
        rows = [{key: column.convert(row[key]) for key, column in CLUSTER_COLUMNS.items()} for row in self.clusters]
        return {
            "place": self.place.as_dict(),
            "baseline": asdict(self.baseline) if self.baseline else None,
            "baseline_val": asdict(self.baseline_val) if self.baseline_val else None,
            "before": self.before,
            "records": [record.flat() for record in self.records],
            "clusters": rows,
            "seconds": self.seconds,
            "rate": self.rate,
            "before_finish": self.before_finish,
        }

    @classmethod
    def from_dict(cls, saved: dict[str, Any]) -> RunState:
        """Convert back what `as_dict` gave."""
        return cls(
            place=Place.from_dict(saved["place"]),
            baseline=Scores(**saved["baseline"]) if saved["baseline"] else None,
            baseline_val=Scores(**saved["baseline_val"]) if saved.get("baseline_val") else None,
            before=saved["before"],
            records=[RoundRecord.from_flat(row) for row in saved["records"]],
            clusters=saved["clusters"],
            seconds=saved["seconds"],
            rate=saved.get("rate"),
            before_finish=saved.get("before_finish"),  # version 0.1 kept none
        )
