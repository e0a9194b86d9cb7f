"""Count the powers of two that a value adds up."""

from __future__ import annotations

import torch
from torch import Tensor


def order_of(values: Tensor, b: int) -> Tensor:
    """Return how many powers of two each value adds up: the ones in its binary numerator, 0 for zero.

    Args:
        values: Multiples of 2^-b below 2^(31-b) in magnitude, of any shape.
        b: The smallest power of two is 2^-b.

    Returns:
        int64 of the same shape.
    """
    return _ones((values.double().abs() * 2.0**b).round().to(torch.int64))


def signed_order_of(values: Tensor, b: int) -> Tensor:
    """Return how many powers of two each value adds up or subtracts at least: its canonical signed digits.

    Arguments and result as for `order_of`. The digits of n that are not 0 are the ones of `n xor 3n`.
    """
    numerators = (values.double().abs() * 2.0**b).round().to(torch.int64)
    return _ones(numerators ^ (3 * numerators))


def _ones(numbers: Tensor) -> Tensor:
    """Count the ones in the binary digits of integers from 0."""
    counts = torch.zeros_like(numbers)
    while bool(numbers.any()):
        counts += numbers & 1
        numbers = numbers >> 1
    return counts
