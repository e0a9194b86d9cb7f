"""Choose an ordinary training before the first round."""

from __future__ import annotations

from dataclasses import dataclass

from pwfn.errors import require
from pwfn.training.optimizer import OptimizerSpec


@dataclass(frozen=True)
class Pretraining:
    """Train the network before it becomes Bayesian, for data without pretrained weights.

    Attributes:
        epochs: passes over all training images, from 0 (no pretraining).
        optimizer: the optimizer of these epochs; the rounds have one of their own.
    """

    epochs: int
    optimizer: OptimizerSpec

    def __post_init__(self) -> None:
        require(self, epochs=(self.epochs >= 0, "an integer from 0"))
