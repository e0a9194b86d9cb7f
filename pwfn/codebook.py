"""Which values a weight may take: sums of a few powers of two (Subia-Waud and Dasmahapatra 2023, section 3).

Every value is an integer multiple of 2^-b, so the codebook is computed with exact integers, its *numerators*.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from pwfn.faults import require

MAX_B = 24  # 2^-24 is one float32 significand: finer grids could not be told apart near 1


@dataclass(frozen=True)
class AdditivePow2:
    """Sums of at most `max_order` powers of two, the smallest of which is 2^-b.

    Example: b=2, order 2, largest magnitude 1 gives -1, -0.75, -0.5, -0.25, 0, 0.25, 0.5, 0.75, 1.
    """

    b: int = 7
    max_order: int = 4

    def __post_init__(self) -> None:
        require(
            self,
            b=(isinstance(self.b, int) and 0 <= self.b <= MAX_B, f"an integer from 0 to {MAX_B}"),
            max_order=(isinstance(self.max_order, int) and 1 <= self.max_order <= 4, "an integer from 1 to 4"),
        )

    @property
    def step(self) -> float:
        """The grid on which every value lies: 2^-b."""
        return 2.0**-self.b

    def candidates(self, order: int, largest: float) -> Tensor:
        """Sorted float64 values of at most `order` powers of two whose magnitude is at most `largest`."""
        return self.numerators(order, int(largest / self.step)).double() * self.step

    def numerators(self, order: int, limit: int) -> Tensor:
        """The candidates as sorted int64 multiples of `step`, all those of magnitude at most `limit` steps."""
        return _numerators(order, limit)


@lru_cache(maxsize=64)
def _numerators(order: int, limit: int) -> Tensor:
    powers = torch.tensor([0] + [1 << j for j in range(limit.bit_length())], dtype=torch.int64)
    sums = powers
    for _ in range(order - 1):
        sums = torch.unique(sums[:, None] + powers[None, :])
        sums = sums[sums <= limit]
    mirrored: Tensor = torch.unique(torch.cat([-sums, sums]))
    return mirrored


def order_of(values: Tensor, b: int) -> Tensor:
    """How many powers of two each value adds up (0 for zero): the number of ones in its binary numerator.

    `values` are multiples of 2^-b below 2^(31-b) in magnitude; the result is int64 of the same shape.
    """
    numerators = (values.double().abs() * 2.0**b).round().to(torch.int64)
    orders = torch.zeros_like(numerators)
    while bool(numerators.any()):
        orders += numerators & 1
        numerators = numerators >> 1
    return orders
