"""How much is fixed when, and how long is trained in between."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Literal

from pwfn.errors import require


@dataclass(frozen=True)
class Schedule:
    """`fractions[t]` of all quantized weights are fixed after round t; the last is 1.

    Round 0 trains `first_epochs` passes over `first_share` of the training images, every later round `rest_epochs` full
    passes. `training` is `joint` (mu and sigma together) or `alternate` (first mu with the noise off, then sigma only,
    each for the round's epochs).
    """

    fractions: tuple[float, ...] = (0.2, 0.4, 0.6, 0.7, 0.8, 0.9, 0.95, 0.975, 0.99, 1.0)
    first_epochs: int = 1
    first_share: float = 0.05
    rest_epochs: int = 3
    training: Literal["joint", "alternate"] = "joint"

    def __post_init__(self) -> None:
        steps = (0.0, *self.fractions)
        rising = len(steps) > 1 and all(a < b for a, b in itertools.pairwise(steps)) and steps[-1] == 1.0
        require(
            self,
            fractions=(rising, "shares above 0 that increase from round to round and end with 1"),
            first_epochs=(self.first_epochs >= 0, "an integer from 0"),
            first_share=(0 < self.first_share <= 1, "above 0 and at most 1"),
            rest_epochs=(self.rest_epochs >= 0, "an integer from 0"),
            training=(self.training in ("joint", "alternate"), "joint or alternate"),
        )

    @property
    def rounds(self) -> int:
        return len(self.fractions)

    def epochs(self, round_index: int) -> int:
        """Passes of round `round_index` (from 0) over its share of the training images."""
        return self.first_epochs if round_index == 0 else self.rest_epochs

    def share(self, round_index: int) -> float:
        """The share of the training images that one epoch of round `round_index` sees."""
        return self.first_share if round_index == 0 else 1.0
