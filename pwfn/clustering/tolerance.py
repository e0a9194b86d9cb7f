"""Say how far each weight may move: its tolerance, in which a clustering counts thresholds.

A rule is called with all quantized weights of the network, flat, before they are clustered. Whatever it gives, a
clustering takes no tolerance for smaller than `MIN_TOLERANCE`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from pwfn.errors import require

MIN_TOLERANCE = 2.0**-20  # in units of the weights: no weight is held tighter than this when it looks for a value
Gradients = Callable[[int], Tensor]  # over so many batches, or images: the squared gradient of each weight [N]


class Tolerance(ABC):
    """Make the tolerances of all weights.

    Attributes:
        label: What tables, which have little room, call tolerances.
        without_noise: A warning for runs that train without noise; empty: none.
    """

    label: ClassVar[str] = "units"
    without_noise: ClassVar[str] = ""

    @property
    def gradient_batches(self) -> int:
        """Count the batches of training images that gradients are averaged over; 0 = none."""
        return 0

    @property
    def factor_images(self) -> int:
        """Count the training images that Kronecker factors are estimated from; 0 = no factors are wanted."""
        return 0

    @property
    def sees_images(self) -> bool:
        """Tell whether it asks for gradients, so that training images are read, in a dry run too."""
        return self.gradient_batches > 0 or self.factor_images > 0

    @abstractmethod
    def __call__(self, mu: Tensor, sigma: Tensor, gradients: Gradients) -> Tensor:
        """Return the tolerance of every weight.

        Args:
            mu: Means [N].
            sigma: Standard deviations [N].
            gradients: Gives the squared gradients [N]: their mean over so many batches, or what Kronecker factors of so
                many images say of them, where `factor_images` is not 0.

        Returns:
            Tolerances [N], finite and not negative, in weight units, in the dtype and on the device of `mu`.

        Raises:
            ValueError: If no tolerance can be made of these weights.
        """


class SigmaTolerance(Tolerance):
    """Take each weight's own sigma (the method's), learned if training has noise, joined by clusters."""

    label: ClassVar[str] = "sigmas"
    without_noise: ClassVar[str] = (
        "noise = False: nothing trains sigma, so a weight's tolerance is what the prior gave it, and later what "
        "sigma_join made of that"
    )

    @override
    def __call__(self, mu: Tensor, sigma: Tensor, gradients: Gradients) -> Tensor:
        return sigma


@dataclass(frozen=True)
class ConstantTolerance(Tolerance):
    """Give every weight the same tolerance, in units of the weights.

    Attributes:
        value: The tolerance, above 0.
    """

    value: float

    def __post_init__(self) -> None:
        require(self, value=(0 < self.value < math.inf, "a number above 0"))

    @override
    def __call__(self, mu: Tensor, sigma: Tensor, gradients: Gradients) -> Tensor:
        return torch.full_like(mu, self.value)


@dataclass(frozen=True)
class RelativeTolerance(Tolerance):
    """Take a share of each weight's magnitude: `share * |mu|`. A weight at exactly 0 has next to none.

    Attributes:
        share: Above 0.
    """

    share: float

    def __post_init__(self) -> None:
        require(self, share=(0 < self.share < math.inf, "a number above 0"))

    @override
    def __call__(self, mu: Tensor, sigma: Tensor, gradients: Gradients) -> Tensor:
        return mu.abs().mul_(self.share)


@dataclass(frozen=True)
class FisherTolerance(Tolerance):
    """Let weights with larger gradients move less: `value * sqrt(m / max(F, floor * m))`.

    F is the mean squared gradient of the loss over `batches` batches (a diagonal Fisher information), m the median of
    the F above 0. Near a minimum a move of one tolerance then changes the loss, to second order, by about as much
    whichever weight makes it; the median weight's is `value`, and none exceeds `value / sqrt(floor)`.

    Attributes:
        value: Tolerance of the median weight, in weight units, above 0.
        batches: How many batches gradients are averaged over, at least 1.
        floor: Smallest F that counts, as a share of the median, above 0 and at most 1.
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
    @override
    def gradient_batches(self) -> int:
        return self.batches

    @override
    def __call__(self, mu: Tensor, sigma: Tensor, gradients: Gradients) -> Tensor:
        return tolerance_of_gradients(gradients(self.batches).to(mu), self.value, self.floor)


@dataclass(frozen=True)
class KroneckerTolerance(Tolerance):
    """Do as `FisherTolerance`, with F from Kronecker factors: g_o A_jj of output and input.

    From one draw of images to the next these are far steadier than squared gradients of as many images
    (`pwfn.curvature.kronecker_diagonal`).

    Attributes:
        value: Tolerance of the median weight, in weight units, above 0.
        images: How many training images, without their labels, the factors are estimated from, at least 2.
        floor: Smallest F that counts, as a share of the median, above 0 and at most 1.
    """

    value: float
    images: int
    floor: float

    def __post_init__(self) -> None:
        require(
            self,
            value=(0 < self.value < math.inf, "a number above 0"),
            images=(self.images >= 2, "an integer from 2"),
            floor=(0 < self.floor <= 1, "above 0 and at most 1"),
        )

    @property
    @override
    def factor_images(self) -> int:
        return self.images

    @override
    def __call__(self, mu: Tensor, sigma: Tensor, gradients: Gradients) -> Tensor:
        return tolerance_of_gradients(gradients(self.images).to(mu), self.value, self.floor)


def tolerance_of_gradients(squared: Tensor, value: float, floor: float) -> Tensor:
    """Return `value * sqrt(m / max(F, floor * m))`, where m is the median of the F above 0.

    Args:
        squared: F, squared gradients [N]; overwritten.
        value: Tolerance of the median weight, in weight units, above 0.
        floor: Smallest F that counts, as a share of m, above 0 and at most 1.

    Raises:
        ValueError: The gradients are not finite, or all 0.
    """
    positive = squared[squared > 0]  # NaN is not
    if not torch.isfinite(squared).all():
        raise ValueError("gradients of the loss must be finite where the tolerance is made of them")
    if positive.numel() == 0:
        raise ValueError("no weight has a gradient other than 0 to make a tolerance of")
    median = positive.median()
    return (median / squared.clamp_(min=floor * median)).sqrt_().mul_(value)
