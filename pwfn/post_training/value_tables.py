"""Find the values on offer to each tensor of a network."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from pwfn.clustering.codebooks.codebook import Codebook, Values

LARGEST = 1.5  # times the largest weight: the largest value on offer, for weights that make good what others do


def fitted_values(codebook: Codebook, weights: Tensor, sizes: Sequence[int]) -> Values:
    """Return the values for these weights.

    Args:
        codebook: which values there are.
        weights: all of a network, flat, on the CPU.
        sizes: the weights of each tensor, one after the other.

    Raises:
        ValueError: the weights are not finite, or there are no such values for them.
    """
    low, high = (float(bound) for bound in weights.aminmax())
    if not math.isfinite(low + high):
        raise ValueError(f"mu must be finite, its smallest value is {low} and its largest {high}")
    values = codebook.fit(weights, sizes)
    values.check(LARGEST * low, LARGEST * high)
    return values


def value_tables(values: Values, weights: Tensor, tensors: int) -> list[Tensor]:
    """Return a table for each of so many tensors: float64, ascending; arguments as for `fitted_values`.

    Args:
        values: What `fitted_values` has returned.
        weights: All weights, one tensor after the other [N].
        tensors: Number of tensors.
    """
    tables = values.tables(LARGEST * float(weights.abs().max()))
    return tables * tensors if len(tables) == 1 else tables


def within(table: Tensor, reach: float) -> Tensor:
    """Return the values of at most this magnitude, or the smallest one where there is none."""
    near = table[table.abs() <= reach]
    return near if len(near) else table[table.abs().argmin()][None]
