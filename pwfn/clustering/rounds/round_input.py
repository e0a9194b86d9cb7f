"""Check the weights that a round is given, and bring them to the CPU."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class RoundInput:
    """Hold weights that can be clustered, on the CPU and without gradients.

    Attributes:
        mu: Means [N], floating, finite, not all zero.
        sigma: Standard deviations [N], same dtype, finite and not negative.
        tolerance: What one threshold is for each weight [N], same dtype, finite and not negative.
        lowest: Smallest mean.
        highest: Largest mean.
        largest_tolerance: Largest tolerance.
    """

    mu: Tensor
    sigma: Tensor
    tolerance: Tensor
    lowest: float
    highest: float
    largest_tolerance: float

    @classmethod
    def checked(cls, mu: Tensor, sigma: Tensor, tolerance: Tensor | None) -> RoundInput:
        """Take the weights as a caller gives them, from any device.

        Args:
            mu: Means, floating [N].
            sigma: Standard deviations, of the shape and dtype of `mu`.
            tolerance: Tolerances, of the shape and dtype of `mu`; None: sigma.

        Returns:
            The weights on the CPU, and their range.

        Raises:
            ValueError: In one line, if shapes or dtypes do not agree, or for numbers that cannot be clustered.
        """
        mu, sigma = mu.detach().cpu(), sigma.detach().cpu()
        lowest, highest, largest_sigma = _check_weights(mu, sigma)
        if tolerance is None:
            return cls(mu, sigma, sigma, lowest, highest, largest_sigma)
        tolerance = tolerance.detach().cpu()
        return cls(mu, sigma, tolerance, lowest, highest, _check_tolerance(mu, tolerance))


def _check_weights(mu: Tensor, sigma: Tensor) -> tuple[float, float, float]:
    """Return the smallest and the largest mu, and the largest sigma."""
    if mu.ndim != 1 or mu.shape != sigma.shape or mu.numel() == 0:
        shapes = f"{tuple(mu.shape)} and {tuple(sigma.shape)}"
        raise ValueError(f"mu and sigma must be flat, equally long and not empty, their shapes are {shapes}")
    if mu.dtype != sigma.dtype or not mu.dtype.is_floating_point:
        raise ValueError(f"mu and sigma must have the same floating dtype, theirs are {mu.dtype} and {sigma.dtype}")
    low, high = _extremes(mu)
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError(f"mu must be finite, its smallest value is {low} and its largest {high}")
    if low == high == 0:
        raise ValueError("mu must not be zero everywhere: there is nothing to cluster")
    low_sigma, high_sigma = _extremes(sigma)
    if not (low_sigma >= 0 and math.isfinite(high_sigma)):
        values = f"its smallest value is {low_sigma} and its largest {high_sigma}"
        raise ValueError(f"sigma must be finite and not negative, {values}")
    return low, high, high_sigma


def _check_tolerance(mu: Tensor, tolerance: Tensor) -> float:
    """Return the largest tolerance."""
    if tolerance.shape != mu.shape or tolerance.dtype != mu.dtype:
        given, expected = (f"{tuple(t.shape)} of {t.dtype}" for t in (tolerance, mu))
        raise ValueError(f"the tolerance must have the shape and dtype of mu, {expected}; it is {given}")
    low, high = _extremes(tolerance)
    if not (low >= 0 and math.isfinite(high)):
        raise ValueError(f"the tolerance must be finite and not negative, its smallest is {low} and its largest {high}")
    return high


def _extremes(values: Tensor) -> tuple[float, float]:
    """Return the smallest and the largest value, both NaN if one value is."""
    low, high = torch.aminmax(values)
    return float(low), float(high)
