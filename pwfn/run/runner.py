"""Name what a round loop needs of whatever trains its network."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Protocol

from torch import Tensor

from pwfn.records.rounds import Scores
from pwfn.training.phase import Phase


class Runner(Protocol):
    """Name what the loop needs of a trainer; the tests have one that trains nothing."""

    @property
    def steps(self) -> int:
        """Count the optimizer steps since the beginning of the run."""

    def fit(self, phase: Phase) -> None:
        """Train one phase."""

    def test(self) -> Scores:
        """Return the scores on the test split, at the mean weights."""

    def validate(self) -> Scores | None:
        """Return the scores on the validation images, at the mean weights; None if there are none."""

    def squared_gradients(self, batches: int) -> Tensor:
        """Average the squared gradients of each quantized weight over so many batches."""

    def kronecker_diagonal(self, images: int) -> Tensor:
        """Estimate the squared gradient of each quantized weight from Kronecker factors of so many images."""

    def calibration_images(self, count: int) -> Tensor:
        """Return this rank's share of so many training images, as they are tested: [images, channels, H, W]."""

    def placed(self) -> AbstractContextManager[Any]:
        """Have the network where it is trained, inside this context."""

    def new_statistics(self, images: int) -> tuple[int, int]:
        """Gather BatchNorm's statistics anew; return how many layers there are, and images used."""
