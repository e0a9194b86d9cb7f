"""How often a run is saved, and how many checkpoints are kept."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pwfn.errors import require


@dataclass(frozen=True)
class CheckpointSpec:
    """How often a run is saved beside the end of every round, and how many checkpoints are kept."""

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
