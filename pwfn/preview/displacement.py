"""Measure how far weights moved from where they started, relative to themselves and in tolerances."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pwfn.clustering.chunking import chunks, in_one_thread
from pwfn.clustering.tolerance import MIN_TOLERANCE

PERCENT = 99  # of many moves, the one that so many do not exceed is told
_COARSE = 16  # bits of a float32 that are cut off for a first, coarse histogram


@dataclass(frozen=True)
class Spread:
    """Hold of many numbers from 0 up the mean, what 99 % do not exceed, and the largest."""

    mean: float
    p99: float
    largest: float


@dataclass(frozen=True)
class TensorMove:
    """Hold how far one tensor of weights was moved.

    `l2` is the Euclidean norm of the move over that of the starting weights (NaN for a tensor that started all zero);
    `relative` and `tolerances` are means over its weights, as in `Moves`.
    """

    name: str
    weights: int
    l2: float
    relative: float
    tolerances: float


@dataclass(frozen=True)
class Moves:
    """Compare N weights before and after.

    `start`, `tolerance` (at the start) and `now` are flat float32 tensors.
    """

    start: Tensor
    tolerance: Tensor
    now: Tensor

    def relative(self, chunk: slice) -> Tensor:
        """Compute `|now - start| / |start|`.

        Weights that start at exactly 0 have no such number and are left out.
        """
        start = self.start[chunk]
        moves = (self.now[chunk] - start).abs_().div_(start.abs())
        nonzero = start != 0
        return moves if bool(nonzero.all()) else moves[nonzero]

    def in_tolerances(self, chunk: slice) -> Tensor:
        """Compute `|now - start| / max(tolerance, 2^-20)`: the floor is that of the clustering."""
        return (self.now[chunk] - self.start[chunk]).abs_().div_(self.tolerance[chunk].clamp(min=MIN_TOLERANCE))

    def split(self, sizes: list[int]) -> list[Moves]:
        """Split into the tensors that the flat ones are made of."""
        flat = (self.start, self.tolerance, self.now)
        return [Moves(*pieces) for pieces in zip(*(t.split(sizes) for t in flat), strict=True)]


@in_one_thread()
def spread(moves: Callable[[slice], Tensor], n: int) -> Spread:
    """Sum up `moves(chunk)`, float32 from 0 up, over all chunks of n weights; all zero without weights.

    The 99 % are found without sorting, in two passes: the upper half of a float's bits, read as an integer, makes a
    histogram that tells in which of its bins the number is; only the floats of that bin are looked at one by one.
    """
    total, largest, count = 0.0, 0.0, 0
    histogram = torch.zeros(1 << (32 - _COARSE), dtype=torch.int64)
    for chunk in chunks(n):
        values = moves(chunk)
        if values.numel():
            total += values.sum(dtype=torch.float64).item()
            largest = max(largest, values.max().item())
            count += values.numel()
            histogram += torch.bincount(_coarse(values), minlength=histogram.numel()).cpu()
    if count == 0:
        return Spread(0.0, 0.0, 0.0)
    rank = -(-PERCENT * count // 100)
    up_to = histogram.cumsum(0)
    place = int(torch.searchsorted(up_to, rank))
    inside = torch.cat([values[_coarse(values) == place] for values in map(moves, chunks(n))])
    p99 = inside.kthvalue(rank - int(up_to[place] - histogram[place])).values.item()
    return Spread(total / count, p99, largest)


def _coarse(values: Tensor) -> Tensor:
    return values.view(torch.int32) >> _COARSE


def mean(moves: Callable[[slice], Tensor], n: int) -> float:
    """Average `moves(chunk)` over all chunks of n weights; 0 where there is none."""
    total, count = 0.0, 0
    for chunk in chunks(n):
        values = moves(chunk)
        total += values.sum(dtype=torch.float64).item()
        count += values.numel()
    return total / max(count, 1)


@in_one_thread()
def tensor_moves(moves: Moves, names: list[str], sizes: list[int]) -> list[TensorMove]:
    """Measure the moves tensor by tensor, the one moved farthest by `l2` first.

    Args:
        moves: all weights, flat.
        names: the name of each tensor.
        sizes: the weights of each tensor, in the order of the flat weights.

    Returns:
        A row for each tensor.
    """
    rows = []
    for name, n, own in zip(names, sizes, moves.split(sizes), strict=True):
        length = torch.linalg.vector_norm(own.start, dtype=torch.float64).item()
        way = torch.linalg.vector_norm(own.now - own.start, dtype=torch.float64).item()
        l2 = way / length if length else math.nan
        rows.append(TensorMove(name, n, l2, mean(own.relative, n), mean(own.in_tolerances, n)))
    return sorted(rows, key=lambda row: math.inf if math.isnan(row.l2) else -row.l2)
