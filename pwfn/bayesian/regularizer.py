"""Keep sigma up: without a regularizer, training under noise would shrink every sigma to nothing.

It acts on the free weights of one tensor (never on biases). It is part of the autograd graph: its gradient
joins that of the data before gradients are accumulated, scaled, clipped or averaged over processes.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import override

from pwfn.errors import require


class Regularizer(ABC):
    """Pull the sigmas of one tensor by a term of the loss, which depends on the noise drawn for it too."""

    @property
    def linear(self) -> tuple[float, float] | None:
        """Return `(strength, ceiling)` of an equal `LinearRegularizer`, which is compiled; else None."""
        return None

    @abstractmethod
    def penalty(self, sigma: Tensor, eps: Tensor, free: Tensor | None) -> Tensor:
        """Compute the term of the loss.

        Args:
            sigma: the standard deviations of one tensor.
            eps: the noise drawn, of its shape.
            free: a boolean mask of the weights that are not fixed, None for all.

        Returns:
            A scalar, summed over the free weights.
        """

    @abstractmethod
    def gradient(self, sigma: Tensor, eps: Tensor, free: Tensor | None, data_gradient: Tensor) -> Tensor:
        """Compute what is added to d loss / d sigma.

        Args:
            sigma: the standard deviations of one tensor.
            eps: the noise drawn, of its shape.
            free: a boolean mask of the weights that are not fixed, None for all.
            data_gradient: d loss / d sigma without the regularizer.

        Returns:
            A tensor of the same shape, 0 where a weight is fixed.
        """


@dataclass(frozen=True)
class NoRegularizer(Regularizer):
    """Let sigma follow the data alone."""

    @override
    @property
    def linear(self) -> tuple[float, float]:
        return 0.0, 0.0

    @override
    def penalty(self, sigma: Tensor, eps: Tensor, free: Tensor | None) -> Tensor:
        return sigma.new_zeros(())

    @override
    def gradient(self, sigma: Tensor, eps: Tensor, free: Tensor | None, data_gradient: Tensor) -> Tensor:
        return torch.zeros_like(sigma)


@dataclass(frozen=True)
class _Pull(Regularizer):
    """Pull every sigma below `ceiling` upwards.

    Attributes:
        strength: lambda, from 0.
        ceiling: S, in units of the weights, above 0.
    """

    strength: float = 2.0**-11
    ceiling: float = 0.05

    def __post_init__(self) -> None:
        require(
            self,
            strength=(0 <= self.strength < math.inf, "a number from 0"),
            ceiling=(0 < self.ceiling < math.inf, "a number above 0"),
        )

    def _gap(self, sigma: Tensor) -> Tensor:
        return torch.rsub(sigma, self.ceiling).clamp_(min=0)


class LinearRegularizer(_Pull):
    """Pull in proportion to the distance to S (the paper's): `lambda/2 * relu(S - sigma)^2 * |eps|`."""

    @override
    @property
    def linear(self) -> tuple[float, float]:
        return self.strength, self.ceiling

    @override
    def penalty(self, sigma: Tensor, eps: Tensor, free: Tensor | None) -> Tensor:
        return _sum_free(self._gap(sigma).square_(), eps, free) * (self.strength / 2)

    @override
    def gradient(self, sigma: Tensor, eps: Tensor, free: Tensor | None, data_gradient: Tensor) -> Tensor:
        return _only_free(self._gap(sigma).mul_(eps.abs()).mul_(-self.strength), free)


class ExponentialRegularizer(_Pull):
    """Pull exponentially in the distance to S: `lambda * (exp(gap) - gap - 1) * |eps|`.

    `gap = relu(S - sigma)`.

    Its gradient is `-lambda * (exp(gap) - 1) * |eps|`.
    """

    @override
    def penalty(self, sigma: Tensor, eps: Tensor, free: Tensor | None) -> Tensor:
        gap = self._gap(sigma)
        return _sum_free(gap.expm1() - gap, eps, free) * self.strength

    @override
    def gradient(self, sigma: Tensor, eps: Tensor, free: Tensor | None, data_gradient: Tensor) -> Tensor:
        return _only_free(self._gap(sigma).expm1_().mul_(eps.abs()).mul_(-self.strength), free)


@dataclass(frozen=True)
class LinearOnGradRegularizer(_Pull):
    """Pull hardest where the data gradient g is small.

    Added is `|g| - lambda * softmin((1 - |eps|) * |g| / temperature)`. The softmin runs over the free sigmas of one
    tensor that are below S; no other sigma is touched. It is a gradient only: no function has it, so its penalty
    counts as 0 in the loss.

    Attributes:
        temperature: of the softmin, in units of the gradient, above 0.
    """

    temperature: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self, temperature=(0 < self.temperature < math.inf, "a number above 0"))

    @override
    def penalty(self, sigma: Tensor, eps: Tensor, free: Tensor | None) -> Tensor:
        return sigma.new_zeros(())

    @override
    def gradient(self, sigma: Tensor, eps: Tensor, free: Tensor | None, data_gradient: Tensor) -> Tensor:
        active = sigma < self.ceiling
        if free is not None:
            active &= free
        size = data_gradient.abs()
        score = ((1 - eps.abs()) * size / self.temperature).masked_fill_(~active, math.inf)
        softmin = torch.softmax(-score.flatten(), 0).view_as(score)
        added = size - self.strength * softmin
        return torch.where(active, added, torch.zeros_like(added))  # with nothing active softmin is NaN, and unused


def _sum_free(values: Tensor, eps: Tensor, free: Tensor | None) -> Tensor:
    """Sum `values * |eps|` over the free weights."""
    return torch.dot(values.flatten(), _only_free(eps.abs(), free).flatten())


def _only_free(values: Tensor, free: Tensor | None) -> Tensor:
    return values if free is None else values.mul_(free.to(values.dtype))
