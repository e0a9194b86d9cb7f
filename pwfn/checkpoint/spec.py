"""Say how often a run is saved, and how many checkpoints are kept."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pwfn.errors import require


@dataclass(frozen=True)
class CheckpointSpec:
    """Say how often a run is saved besides the end of every round.

    Args:
        every_minutes: wall time from one checkpoint to the next, above 0; None: no matter how long.
        every_steps: optimizer steps from one checkpoint to the next, from 1; None: no matter how many.
        keep: how many checkpoints stay, from 1.
    """

    every_minutes: float | None
    every_steps: int | None
    keep: int

    def __post_init__(self) -> None:
        require(
            self,
            every_minutes=(
                self.every_minutes is None or 0 < self.every_minutes < math.inf,
                "a number above 0, or null",
            ),
            every_steps=(self.every_steps is None or self.every_steps >= 1, "an integer from 1, or null"),
            keep=(self.keep >= 1, "an integer from 1"),
        )
