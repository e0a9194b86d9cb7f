"""How long a run will still take: its rounds differ in how much they train, and each has its tests and clustering besides."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

ENOUGH = 0.5  # epochs that have to be behind before the first round's end: a few batches are no measure


def clock(seconds: float) -> str:
    """`1:02:03`, to the second."""
    return str(timedelta(seconds=round(seconds)))


class TimeLeft:
    """`work` says of each round how many epochs it trains (half an epoch's images are half of one).

    The first `rounds_done` were done before the run was resumed. All times are in seconds, of one clock.
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
        return len(self._work)

    def begin(self, now: float) -> None:
        """A fit of a round is about to begin; the first one starts the clock."""
        if self._begun is None:
            self._begun = now

    def skipped(self, epochs: float) -> None:
        """So much of the present round was trained before the run was resumed."""
        self._behind += epochs

    def trained(self, epochs: float, seconds: float) -> None:
        """So much of the present round was trained just now."""
        self._behind, self._training_here = self._behind + epochs, self._training_here + seconds
        self._worked, self._training = self._worked + epochs, self._training + seconds

    def end_round(self, now: float) -> None:
        if self._begun is not None:
            self._rest += max(0.0, now - self._begun - self._training_here)
            self._ended += 1
        self.rounds_done += 1
        self._begun, self._behind, self._training_here = now, 0.0, 0.0

    def seconds(self, epochs: float = 0.0, seconds: float = 0.0) -> float | None:
        """The estimate, `epochs` of the present round having been trained in `seconds` beside what was told; None before
        there is a measure."""
        worked, training = self._worked + epochs, self._training + seconds
        ahead = max(0.0, sum(self._work[self.rounds_done :]) - self._behind - epochs)
        if (self._ended == 0 and worked < ENOUGH) or (ahead > 0 and worked <= 0):
            return None
        each = training / worked if worked > 0 else 0.0
        rest = self._rest / self._ended if self._ended else 0.0
        return each * ahead + rest * max(0, self.rounds - self.rounds_done)
