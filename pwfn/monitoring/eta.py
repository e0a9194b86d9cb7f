"""Estimate the remaining time of a run whose rounds differ in how many epochs they train.

Each round also has its tests and its clustering, which are measured apart from the training.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

ENOUGH = 0.5  # epochs that have to be behind before the first round's end: a few batches are no measure


def clock(seconds: float) -> str:
    """Write seconds as `1:02:03`."""
    return str(timedelta(seconds=round(seconds)))


class TimeLeft:
    """Measure epochs and rounds as they end, estimate what is left; all in seconds of one clock.

    Args:
        work: epochs that each round trains; half of the images are half an epoch.
        rounds_done: how many rounds were done before the run was resumed.
    """

    def __init__(self, work: Sequence[float], rounds_done: int = 0) -> None:
        self._work, self.rounds_done = list(work), rounds_done
        # since the run began, or was resumed: epochs, their time, and the time of everything else
        self._worked = self._training = self._rest = 0.0
        self._ended = 0
        self._begun: float | None = None
        # of the present round: epochs behind, and the time of those that were not trained before a resume
        self._behind = self._training_here = 0.0

    @property
    def rounds(self) -> int:
        """Return how many rounds the run has."""
        return len(self._work)

    def begin(self, now: float) -> None:
        """Note that a fit of a round is about to begin; the first one starts the clock."""
        if self._begun is None:
            self._begun = now

    def skipped(self, epochs: float) -> None:
        """Add epochs of the present round that were trained before the run was resumed."""
        self._behind += epochs

    def trained(self, epochs: float, seconds: float) -> None:
        """Add epochs of the present round that have just been trained."""
        self._behind, self._training_here = self._behind + epochs, self._training_here + seconds
        self._worked, self._training = self._worked + epochs, self._training + seconds

    def end_round(self, now: float) -> None:
        """Count the present round as done."""
        if self._begun is not None:
            self._rest += max(0.0, now - self._begun - self._training_here)
            self._ended += 1
        self.rounds_done += 1
        self._begun, self._behind, self._training_here = now, 0.0, 0.0

    def seconds(self, epochs: float = 0.0, seconds: float = 0.0) -> float | None:
        """Estimate the time that is left, None before there is a measure.

        Args:
            epochs: of the present round, trained since the last call of `trained`.
            seconds: the time they took.
        """
        worked, training = self._worked + epochs, self._training + seconds
        ahead = max(0.0, sum(self._work[self.rounds_done :]) - self._behind - epochs)
        if (self._ended == 0 and worked < ENOUGH) or (ahead > 0 and worked <= 0):
            return None
        each = training / worked if worked > 0 else 0.0
        rest = self._rest / self._ended if self._ended else 0.0
        return each * ahead + rest * max(0, self.rounds - self.rounds_done)
