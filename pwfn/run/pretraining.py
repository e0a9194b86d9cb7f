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
        head_epochs: passes before those, in which only the classifier trains; from 0.
        optimizer: the optimizer of these epochs; the rounds have one of their own.
    """

    epochs: int
    optimizer: OptimizerSpec
    head_epochs: int = 0

    def __post_init__(self) -> None:
        from_0 = "an integer from 0"
        require(self, epochs=(self.epochs >= 0, from_0), head_epochs=(self.head_epochs >= 0, from_0))

    @property
    def trains(self) -> bool:
        """Tell whether there is any training before the first round."""
        return self.head_epochs + self.epochs > 0
