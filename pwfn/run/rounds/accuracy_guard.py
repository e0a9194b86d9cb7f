"""Warn about, or stop at, a round that loses too much accuracy."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from pwfn.errors import Stopped, require
from pwfn.models.accuracy_interval import interval, with_interval
from pwfn.records.rounds import RoundRecord, Scores, is_finishing


@dataclass(frozen=True)
class Judged:
    """Measure the pretrained network on the images that rounds are judged by.

    Attributes:
        baseline: its scores.
        images: how many there are; None where it is not known, so that there is no interval.
        split: which images they are.
    """

    baseline: Scores
    images: int | None = None
    split: Literal["test", "validation"] = "test"

    def trained(self, record: RoundRecord) -> Scores:
        """Return the scores of a round after its training."""
        return record.trained if self.split == "test" else record.trained_val or record.trained

    def clustered(self, record: RoundRecord) -> Scores:
        """Return the scores of a round after its clustering."""
        return record.clustered if self.split == "test" else record.judged


Before = Callable[[Sequence[RoundRecord], Judged], tuple[str, Scores]]
EXIT_CODE = 1
BEFORE = "most of it was lost before that"
MILDER = "a milder data/augment (crop_flip, none)"  # timm's own is made for hundreds of epochs, a round has a few
TRAINING = f"most of it was lost while training; try a smaller optimizer.lr or {MILDER}"
CLUSTERING = (
    "most of it was lost by clustering; try smaller steps (schedule.fractions), more training in between "
    "(schedule.rest_epochs), a finer codebook, a smaller clustering.inc, or finish=unquantised (BatchNorm's statistics "
    "are those of before the clustering: new ones may bring most of it back)"
)
FINISHING = (
    "the finishing",
    f"most of it was lost while training; try a smaller finish.optimizer.lr or {MILDER}",
    "most of it was lost with the new statistics; try a larger finish.batchnorm_images",
)


def _pretrained(_: Sequence[RoundRecord], by: Judged) -> tuple[str, Scores]:
    return "the pretrained network", by.baseline


def _previous(records: Sequence[RoundRecord], by: Judged) -> tuple[str, Scores]:
    return ("the round before", by.clustered(records[-2])) if len(records) > 1 else _pretrained(records, by)


AGAINST: dict[str, Before] = {"previous": _previous, "pretrained": _pretrained}  # what the last round is held against


@dataclass(frozen=True)
class CostlyRound:
    """Decide which rounds cost too much accuracy.

    Attributes:
        points: a round is costly if its clustered top1 is more than this many percentage points below the one it is
            compared with, and below the 95 % interval of that one; None: no round is.
        against: what it is compared with: the clustered network of the `previous` round (of the first round: the
            pretrained network), or always the `pretrained` one.
        stop: a costly round ends the run, unless it is the last.
    """

    points: float | None
    against: Literal["previous", "pretrained"]
    stop: bool

    def __post_init__(self) -> None:
        points = self.points
        require(
            self,
            points=(points is None or 0 <= points < math.inf, "a number from 0 (percentage points), or null"),
            stop=(not self.stop or points is not None, "false where points is null: no round is costly then"),
        )

    def complaint(self, records: Sequence[RoundRecord], by: Judged) -> str | None:
        """Say what the last of the rounds lost and what to try, if it was costly.

        Args:
            records: those of all rounds so far.
            by: the pretrained network, and the images that count.
        """
        name, against = AGAINST[self.against](records, by)
        _, previous = _previous(records, by)
        trained, clustered, images = by.trained(records[-1]), by.clustered(records[-1]), by.images
        lost = against.top1 - clustered.top1
        if self.points is None or not lost > self.points:
            return None
        if images and clustered.top1 >= interval(against.top1, images)[0]:  # so few images may differ by chance
            return None
        what, *advice = FINISHING if is_finishing(records) else (f"round {len(records)}", TRAINING, CLUSTERING)
        at = [against.top1, previous.top1, trained.top1, clustered.top1]
        _, blame = max(zip((a - b for a, b in pairwise(at)), (BEFORE, *advice), strict=True))
        return (
            f"{what} ended {lost:.2f} points below {name} "
            f"({by.split} top1 {with_interval(against.top1, images, by.split)} there, "
            f"{trained.top1:.2f} % trained, {clustered.top1:.2f} % clustered): {blame}"
        )

    def stopped(self, complaint: str) -> Stopped:
        """Return the error that ends the run after a costly round."""
        return Stopped(f"costly_round.stop, as {complaint}", EXIT_CODE, saved=True)
