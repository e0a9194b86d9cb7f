"""Choose the initial standard deviation of each weight from the pretrained weights alone."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import override

from pwfn.errors import require

MIN_SIGMA = 2.0**-30  # the smallest standard deviation a weight is ever sampled with


class Prior(ABC):
    """Compute the initial sigma of one tensor of weights."""

    @abstractmethod
    def __call__(self, mu: Tensor) -> Tensor:
        """Return sigma of the same shape and dtype as `mu`, every element at least `MIN_SIGMA`."""


@dataclass(frozen=True)
class Pow2DistancePrior(Prior):
    """Make sigma larger the further a weight is from both neighboring powers of two (the paper's prior).

    With `down <= |mu| <= up` the neighboring powers of two, `d = |(|mu|-up)/mu| * |(|mu|-down)/mu|` and q the
    `quantile` of d within the tensor: `sigma = clamp(scale * d / q, 2^-30, ceiling)`. Zeros and powers of two have
    d = 0.

    Attributes:
        scale: sigma where d is its quantile, in units of the weights, above 0.
        quantile: of d within the tensor, above 0 and at most 1.
        ceiling: the largest sigma, above 2^-30.
    """

    scale: float = 0.0025
    quantile: float = 0.75
    ceiling: float = 0.05

    def __post_init__(self) -> None:
        require(
            self,
            scale=(0 < self.scale < math.inf, "a number above 0"),
            quantile=(0 < self.quantile <= 1, "above 0 and at most 1"),
            ceiling=(MIN_SIGMA < self.ceiling < math.inf, "a number above 2^-30"),
        )

    @override
    def __call__(self, mu: Tensor) -> Tensor:
        distance = relative_pow2_distance(mu)
        q = linear_quantile(distance, self.quantile)
        if q == 0:
            return torch.full_like(mu, MIN_SIGMA)
        return (distance * (self.scale / q)).clamp_(MIN_SIGMA, self.ceiling)


@dataclass(frozen=True)
class ConstantPrior(Prior):
    """Give every weight the same sigma.

    Attributes:
        sigma: in units of the weights, from 2^-30.
    """

    sigma: float = 1e-4

    def __post_init__(self) -> None:
        require(self, sigma=(MIN_SIGMA <= self.sigma < math.inf, "a number from 2^-30"))

    @override
    def __call__(self, mu: Tensor) -> Tensor:
        return torch.full_like(mu, self.sigma)


def relative_pow2_distance(mu: Tensor) -> Tensor:
    """Multiply the relative distances of `|mu|` to the powers of two around it; 0 at these and at zero."""
    mantissa, _ = torch.frexp(mu.abs())  # in [0.5, 1), so up = 1 and down = 0.5 on the mantissa's scale
    distance = (1 - mantissa) * (mantissa - 0.5) / mantissa.square()
    return torch.where(mantissa == 0, torch.zeros_like(distance), distance)


def linear_quantile(values: Tensor, q: float) -> float:
    """Compute the q-quantile with linear interpolation; unlike `torch.quantile` for tensors of any size."""
    flat = values.flatten()
    position = q * (flat.numel() - 1)
    below = math.floor(position)
    lower = flat.kthvalue(below + 1).values.item()
    if position == below:
        return lower
    upper = flat.kthvalue(below + 2).values.item()
    return lower + (upper - lower) * (position - below)
