"""Warn about, or stop at, a round that loses too much accuracy."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from pwfn.errors import Stopped, require
from pwfn.models.accuracy import interval, with_interval
from pwfn.records.rounds import RoundRecord, Scores, is_finishing

Before = Callable[[Sequence[RoundRecord], Scores], tuple[str, Scores]]
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


def _pretrained(_: Sequence[RoundRecord], baseline: Scores) -> tuple[str, Scores]:
    return "the pretrained network", baseline


def _previous(records: Sequence[RoundRecord], baseline: Scores) -> tuple[str, Scores]:
    return ("the round before", records[-2].clustered) if len(records) > 1 else _pretrained(records, baseline)


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

    def complaint(self, records: Sequence[RoundRecord], baseline: Scores, images: int | None = None) -> str | None:
        """Say what the last of the rounds lost and what to try, if it was costly.

        Args:
            records: those of all rounds so far.
            baseline: the scores of the pretrained network.
            images: number of test images; None where it is not known, so that there is no interval.
        """
        name, against = AGAINST[self.against](records, baseline)
        _, previous = _previous(records, baseline)
        trained, clustered = records[-1].trained, records[-1].clustered
        lost = against.top1 - clustered.top1
        if self.points is None or not lost > self.points:
            return None
        if images and clustered.top1 >= interval(against.top1, images)[0]:  # so few images may differ by chance
            return None
        what, *advice = FINISHING if is_finishing(records) else (f"round {len(records)}", TRAINING, CLUSTERING)
        at = [against.top1, previous.top1, trained.top1, clustered.top1]
        _, blame = max(zip((a - b for a, b in pairwise(at)), (BEFORE, *advice), strict=True))
        return (
            f"{what} ended {lost:.2f} points below {name} (top1 {with_interval(against.top1, images)} there, "
            f"{trained.top1:.2f} % trained, {clustered.top1:.2f} % clustered): {blame}"
        )

    def stopped(self, complaint: str) -> Stopped:
        """Return the error that ends the run after a costly round."""
        return Stopped(f"costly_round.stop, as {complaint}", EXIT_CODE, saved=True)
