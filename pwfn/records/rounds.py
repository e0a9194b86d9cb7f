"""Define the record of a round, each number with meaning and unit, and read a run's records."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pwfn.errors import require
from pwfn.records.columns import Column, Record, by_key, later, order_shares, real, whole
from pwfn.records.files import RECORDS, RESULT, write_text


@dataclass(frozen=True)
class Scores:
    """Hold the scores of one whole split.

    Attributes:
        top1: in percent.
        top5: in percent.
        loss: the mean cross entropy, in nats.
    """

    top1: float
    top5: float
    loss: float


def _score_columns(prefix: str, split: str, moment: str, optional: bool = False) -> tuple[Column, ...]:
    measured = (
        ("top1", "right at the first guess", "percent"),
        ("top5", "right within the first five guesses", "percent"),
        ("loss", "mean cross entropy", "nats"),
    )
    return tuple(
        Column(f"{prefix}{name}", f"{what} on the {split} split, {moment}", unit, optional=optional)
        for name, what, unit in measured
    )


def _scores(key: str, moment: str) -> dict[str, Any]:
    return {"columns": _score_columns(f"{key}/", "test", moment), "join": lambda scores: Scores(*scores)}


def _validation_scores(key: str, moment: str) -> dict[str, Any]:
    """Make the metadata of scores that are None without validation images, and in older records."""
    columns = _score_columns(f"{key}/val_", "validation", moment, optional=True)
    return {"columns": columns, "join": lambda scores: None if None in scores else Scores(*scores)}


@dataclass(frozen=True, kw_only=True)
class RoundRecord(Record):
    """Hold all numbers of one round; `COLUMNS` has the meaning and the unit of each."""

    round: int = whole(
        "round",
        "which round this is; counted from 0 here, from 1 on the console; one more if a finish follows",
        "rounds",
    )
    fraction: float = real("fraction", "quantized weights that are fixed after this round", "share")
    epochs: float = real("epochs", "passes over the training images in the rounds so far", "epochs")
    steps: int = whole("steps", "optimizer steps so far, pretraining included", "steps")
    codebook_size: int = whole("codebook_size", "centroids in use", "values")
    unique_weights: int = whole("unique_weights", "distinct values of all quantized weights, fixed or free", "values")
    entropy_bits: float = real("entropy_bits", "entropy of the exact values of all quantized weights", "bits/weight")
    trained: Scores = field(metadata=_scores("trained", "mean weights, after training, before clustering"))
    clustered: Scores = field(metadata=_scores("clustered", "mean weights, after clustering"))
    threshold: float = real("threshold", "farthest a weight could move at the end of the clustering", "tolerances")
    order_share: tuple[float, ...] | None = field(metadata=order_shares())
    sigma_mean: float = real("sigma_mean", "mean sigma of quantized weights, after clustering", "weight units")
    sigma_median: float = real("sigma_median", "median sigma of quantized weights, after clustering", "weight units")
    sigma_max: float = real("sigma_max", "largest sigma of quantized weights, after clustering", "weight units")
    moved: int = whole("moved", "weights fixed before that changed their centroid in this round", "weights")
    train_seconds: float = real("train_seconds", "wall time of this round's training", "seconds")
    cluster_seconds: float = real("cluster_seconds", "wall time of this round's clustering", "seconds")
    tensor_values: int | None = later(
        Column("tensor_values", "distinct values of the tensor that has most of them", "values", int, optional=True)
    )
    tensor_entropy_bits: float | None = later(
        Column("tensor_entropy_bits", "mean entropy of the values within each tensor", "bits/weight", optional=True)
    )
    trained_val: Scores | None = field(
        default=None, metadata=_validation_scores("trained", "mean weights, after training, before clustering")
    )
    clustered_val: Scores | None = field(
        default=None, metadata=_validation_scores("clustered", "mean weights, after clustering")
    )

    def __post_init__(self) -> None:
        require(
            self,
            round=(self.round >= 0, "a whole number from 0 up"),
            fraction=(0 < self.fraction <= 1, "a share above 0, at most 1"),
            order_share=(
                self.order_share is None or len(self.order_share) == 5,
                "five shares: zero, and one to four powers of two",
            ),
        )

    @property
    def judged(self) -> Scores:
        """Return the clustered scores that choices go by: of the validation split, or else the test split."""
        return self.clustered_val or self.clustered


COLUMNS: dict[str, Column] = RoundRecord.columns()


def last_clustering(records: Sequence[RoundRecord]) -> RoundRecord | None:
    """Return the record of the round that fixed the last weights; one after it is that of the finishing."""
    return next((record for record in records if record.fraction == 1), None)


def is_finishing(records: Sequence[RoundRecord]) -> bool:
    """Tell whether the last record is not that of a round but of the finishing after the last clustering."""
    return bool(records) and last_clustering(records) not in (None, records[-1])


CLUSTER_COLUMNS = by_key(
    Column("round", "the round in which the cluster was made, counted from 0", "rounds", int),
    Column("value", "the centroid: what every member's mean became", "weight units"),
    Column(
        "order",
        "powers of two that the centroid adds up; 0 for zero, empty where it is no such sum",
        "powers of two",
        int,
        True,
    ),
    Column("count", "members", "weights", int),
    Column("mu_std", "spread of the members' means before the move", "weight units"),
    Column("sigma_mean", "mean sigma of the members before the move", "weight units"),
    Column("sigma_max", "largest sigma of the members before the move", "weight units"),
)


def write_result(folder: Path, objective: float, figures: Mapping[str, int | float]) -> None:
    """Write result.json, which a sweep reads: `objective` for its sweeper, `figures` for its table.

    Args:
        folder: The run's folder.
        objective: What a search makes small or large.
        figures: Numbers by the headings of the sweep's table.
    """
    write_text(folder / RESULT, json.dumps({"objective": objective, "summary": dict(figures)}, indent=1) + "\n")


def read_records(folder: Path) -> list[RoundRecord]:
    """Read the records of a run's rounds from the file `RECORDS` in its folder.

    Raises:
        ValueError: says what is wrong with a damaged file.
        OSError: where it cannot be read.
    """
    path = Path(folder) / RECORDS
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not readable as JSON: {error}") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError(f"{path} must hold a list with one object a round")
    records = []
    for number, row in enumerate(rows):
        try:
            records.append(RoundRecord.from_flat(row))
        except ValueError as error:
            raise ValueError(f"{path}, round {number}: {error}") from error
        if records[-1].round != number:
            raise ValueError(f"{path}: expected round {number}, found round {records[-1].round}")
    return records
