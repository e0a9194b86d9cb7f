"""Let each tensor use only a few of the shared values, for hardware with tables of 4, 16 or 256.

The values that a tensor keeps are those with the least total cost: a weight that moves from `v` to `c` costs
`s (v - c)^2`; s is the second derivative of the loss (the tolerance to the power of -2) where that is known, else 1.
With the values in order, weights move to the nearer of two neighbors that stay, so the optimum is found exactly by
dynamic programming over the last value kept, in the manner of one-dimensional k-medians (Wang and Song 2011).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pwfn.clustering.cluster_result import ClusterResult
from pwfn.clustering.rounds.greedy_cover import FREE

Floats = NDArray[np.float64]
MOST_VALUES = 4096  # of a tensor: the optimum needs a few matrices of as many rows and columns


def limit_result(result: ClusterResult, sizes: Sequence[int], most: int, stiffness: Tensor | None) -> ClusterResult:
    """Move the fixed weights of a round so that each tensor has at most `most` values.

    Args:
        result: Of a round on N weights; left as it is.
        sizes: Weights of each tensor, one after the other.
        most: Values that one tensor may keep, at least 1.
        stiffness: What moving a weight costs, for the square of the distance [N], above 0; None: 1 for all.

    Returns:
        The result with new means, assignment and codebook; sigma, free weights and threshold are those of `result`.
    """
    assignment, entries = result.assignment.clone(), result.codebook.numel()
    codebook = result.codebook.double().numpy()
    masses = (torch.ones_like(result.mu) if stiffness is None else stiffness).double()
    for piece, mass in zip(assignment.split(list(sizes)), masses.split(list(sizes)), strict=True):
        fixed = piece != FREE
        index = piece[fixed].long()
        used = torch.bincount(index, minlength=entries).nonzero().flatten().numpy()
        if len(used) > most:
            weights = torch.bincount(index, mass[fixed], minlength=entries).numpy()
            target = np.arange(entries, dtype=np.int32)
            target[used] = used[kept_values(codebook[used], weights[used], most)]
            piece[fixed] = torch.from_numpy(target)[index]
    fixed = assignment != FREE
    in_use, number = torch.unique(assignment[fixed], return_inverse=True)
    assignment[fixed] = number.to(torch.int32)
    values = result.codebook[in_use.long()]
    mu = result.mu.clone()
    mu[fixed] = values[number]
    return replace(result, mu=mu, assignment=assignment, codebook=values)


def kept_values(values: Floats, mass: Floats, most: int) -> NDArray[np.int64]:
    """Choose `most` of the values so that moving all mass to the nearest of them costs least.

    Args:
        values: Distinct, ascending [K].
        mass: Cost of moving everything at a value by one, for the square of the distance [K], not negative.
        most: Values to keep, at least 1.

    Returns:
        For each value the index of the one it goes to [K]; of two equally near ones the smaller.

    Raises:
        ValueError: For more than 4,096 values, and where `most` is no whole number from 1 up.
    """
    if not isinstance(most, int) or isinstance(most, bool) or most < 1:
        raise ValueError(f"the number of values to keep must be a whole number from 1 up, got {most!r}")
    count = len(values)
    if count <= most:
        return np.arange(count)
    if count > MOST_VALUES:
        raise ValueError(f"a tensor has {count:,} values, of which few are to be kept: at most {MOST_VALUES:,} can be")
    chosen = _cheapest(values, mass, most)
    middles = (values[chosen][:-1] + values[chosen][1:]) / 2
    nearest: NDArray[np.int64] = chosen[np.searchsorted(middles, values, side="left")]
    return nearest


def _cheapest(values: Floats, mass: Floats, most: int) -> NDArray[np.int64]:
    """Choose the ascending indices of the values to keep: dynamic programming over the last one kept."""
    count = len(values)
    sums = [np.concatenate([[0.0], np.cumsum(mass * values**power)]) for power in range(3)]

    def cost(start: NDArray[np.int64], end: NDArray[np.int64], at: Floats) -> Floats:
        """Compute the cost of moving the values from `start` to before `end` to `at`."""
        mass0, mass1, mass2 = (one[end] - one[start] for one in sums)
        total: Floats = np.maximum(mass2 - 2 * at * mass1 + at**2 * mass0, 0.0)
        return total

    every = np.arange(count)
    left, right = values[:, None], values[None, :]
    border = np.searchsorted(values, (left + right) / 2, side="right")
    border = np.clip(border, every[:, None] + 1, np.maximum(every[None, :], every[:, None] + 1))
    between = cost(every[:, None] + 0 * border, border, left) + cost(border, np.maximum(border, every[None, :]), right)
    between[np.tril_indices(count)] = np.inf
    total = cost(np.zeros(count, dtype=np.int64), every, values)
    before = np.zeros((most, count), dtype=np.int64)
    for step in range(1, most):
        reached = total[:, None] + between
        before[step] = reached.argmin(0)
        total = reached[before[step], every]
    last = int(np.argmin(total + cost(every, np.full(count, count), values)))
    kept = [last]
    for step in range(most - 1, 0, -1):
        kept.append(int(before[step, kept[-1]]))
    return np.array(kept[::-1])
