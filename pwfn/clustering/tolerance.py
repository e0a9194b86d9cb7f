"""How far a weight may move: what one unit of movement is for it, in which the clustering counts thresholds.

A rule is called with all quantized weights of the network, flat, before they are clustered. Whatever it gives, a
clustering takes no tolerance for smaller than 2^-20 (`pwfn.clustering.intervals`).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pwfn.errors import require

Gradients = Callable[[int], Tensor]  # of so many batches: for each weight its mean squared gradient [N]


class Tolerance(ABC):
    """A rule; `unit` is what tables, which have little room, call tolerances."""

    unit: ClassVar[str] = "units"
    without_noise: ClassVar[str] = ""  # what a user should know of the rule in a run that trains without

    @property
    def gradient_batches(self) -> int:
        """Over how many batches of training images gradients have to be looked at; 0 = none, and no images are read."""
        return 0

    @abstractmethod
    def __call__(self, mu: Tensor, sigma: Tensor, gradients: Gradients) -> Tensor:
        """The tolerance of every weight [N], finite and not negative, in the dtype of `mu`."""


class SigmaTolerance(Tolerance):
    """Each weight's own sigma (the method's): learned, if there is noise in training, and joined by clusters."""

    unit: ClassVar[str] = "sigmas"
    without_noise: ClassVar[str] = (
        "noise = False: nothing trains sigma, so a weight's tolerance is what the prior gave it, and later what "
        "sigma_join made of that"
    )

    def __call__(self, mu: Tensor, sigma: Tensor, gradients: Gradients) -> Tensor:
        return sigma


@dataclass(frozen=True)
class ConstantTolerance(Tolerance):
    """The same for every weight, in units of the weights."""

    value: float

    def __post_init__(self) -> None:
        require(self, value=(0 < self.value < math.inf, "a number above 0"))

    def __call__(self, mu: Tensor, sigma: Tensor, gradients: Gradients) -> Tensor:
        return torch.full_like(mu, self.value)


@dataclass(frozen=True)
class RelativeTolerance(Tolerance):
    """A share of the weight's own magnitude: `share * |mu|`. A weight at exactly 0 has next to none."""

    share: float

    def __post_init__(self) -> None:
        require(self, share=(0 < self.share < math.inf, "a number above 0"))

    def __call__(self, mu: Tensor, sigma: Tensor, gradients: Gradients) -> Tensor:
        return mu.abs().mul_(self.share)


@dataclass(frozen=True)
class FisherTolerance(Tolerance):
    """The more the loss feels a weight, the less it may move: an inverse square root of squared gradients.

    With F the mean squared gradient of the loss over `batches` batches (a diagonal Fisher information) and m the median
    of the F above 0: `value * sqrt(m / max(F, floor * m))`. Near a minimum a move of one tolerance
    then changes the loss, to second order, by about as much whichever weight makes it; the median weight's is `value`, and none exceeds
    `value / sqrt(floor)`.
    """

    value: float
    batches: int
    floor: float

    def __post_init__(self) -> None:
        require(
            self,
            value=(0 < self.value < math.inf, "a number above 0"),
            batches=(self.batches >= 1, "an integer from 1"),
            floor=(0 < self.floor <= 1, "above 0 and at most 1"),
        )

    @property
    def gradient_batches(self) -> int:
        return self.batches

    def __call__(self, mu: Tensor, sigma: Tensor, gradients: Gradients) -> Tensor:
        squared = gradients(self.batches).to(mu)
        felt = squared[squared > 0]  # NaN is not
        if not torch.isfinite(squared).all():
            raise ValueError("gradients of the loss must be finite where the tolerance is made of them")
        if felt.numel() == 0:
            raise ValueError("no weight has a gradient other than 0 to make a tolerance of")
        median = felt.median()
        return (median / squared.clamp_(min=self.floor * median)).sqrt_().mul_(self.value)
