"""Decide how many weights are fixed in each round, and which fits a round trains."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Literal

from pwfn.errors import require


@dataclass(frozen=True)
class Fit:
    """Describe one training within a run: `epochs` passes over a share of the training images.

    Attributes:
        share: above 0, at most 1.
        trains: mu and sigma together (`joint`), mu and what is not quantized (`mu`), or `sigma` alone.
    """

    epochs: int
    share: float = 1.0
    trains: Literal["joint", "mu", "sigma"] = "joint"

    @property
    def passes(self) -> float:
        """Count passes over all training images, a share of them counted as such."""
        return self.epochs * self.share


@dataclass(frozen=True)
class Schedule:
    """Fix `fractions[t]` of all quantized weights in round t (from 0), and train before each clustering.

    Attributes:
        fractions: shares of the quantized weights that are fixed after each round; they increase and end with 1.
        first_epochs: passes of round 0 over its share of the training images, from 0.
        first_share: the share of the training images that round 0 sees, above 0 and at most 1.
        rest_epochs: passes of every later round over all training images, from 0.
        training: `joint` (mu and sigma together) or `alternate` (first mu with the noise off, then sigma alone, each
            for the epochs of the round).
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
        """Count the rounds."""
        return len(self.fractions)

    @property
    def trains(self) -> bool:
        """Tell whether any round trains."""
        return any(fit.epochs for index in range(self.rounds) for fit in self.fits(index))

    def fits(self, round_index: int) -> tuple[Fit, ...]:
        """Return the fits of one round, counted from 0, in their order; those of 0 epochs train nothing."""
        epochs, share = (self.first_epochs, self.first_share) if round_index == 0 else (self.rest_epochs, 1.0)
        if self.training == "joint":
            return (Fit(epochs, share),)
        return (Fit(epochs, share, "mu"), Fit(epochs, share, "sigma"))
