"""Encode the candidates that each weight reaches at one threshold, and count the codes.

What a weight reaches is an interval of candidate indices (`pwfn.clustering.codebooks.candidates`), whichever of them
are on offer: orders that are tried at the same threshold share one pass over the weights.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pwfn.clustering.codebooks.candidates import Candidates
from pwfn.clustering.rounds.greedy_cover import FREE, GreedyCover
from pwfn.clustering.rounds.unassigned import UnassignedWeights

MOST_COUNTED_CODES = (
    1 << 20
)  # beyond it (a fine grid, a few huge weights) codes are sorted instead of counted in a table


class Intervals:
    """Code the interval of each of the M unassigned weights at one threshold.

    Attributes:
        weights: The unassigned weights.
        candidates: The candidates at this threshold.
        limit: The largest candidate index on offer (`Candidates.limit`).
        cover: The histogram of the intervals, on which the greedy choice runs.
    """

    def __init__(self, weights: UnassignedWeights, candidates: Candidates, largest_tolerance: float) -> None:
        self.weights, self.candidates = weights, candidates
        largest = max(float(weights.of(weights.mu, chunk).abs().max()) for chunk in weights.slices)
        self.limit = candidates.limit(largest)
        in_use = candidates.index_range(largest, largest_tolerance)
        self._first, self._width = in_use.first, in_use.longest
        self._size = (in_use.count + 1) * self._width
        self._counted = self._size <= max(MOST_COUNTED_CODES, len(weights) // 8)
        self._codes, self._distinct, counts = self._count() if self._counted else self._sort()
        lo = torch.div(self._distinct, self._width, rounding_mode="floor") + self._first
        self.cover = GreedyCover(lo, lo + self._distinct % self._width - 1, counts)

    def _encode(self, chunk: slice) -> Tensor:
        """Write first index and length of each interval of a slice as the digits of one number."""
        segment = self.weights.segment(chunk)
        first, last = self.candidates.interval(*self.weights.float64(chunk), self.limit, segment)
        if not self._counted:  # codes beyond 2^53 are no float64 numbers
            first, last = first.to(torch.int64), last.to(torch.int64)
        return last.add_(first, alpha=self._width - 1).add_(1 - self._first * self._width)

    def _count(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the code of every weight, the distinct codes in ascending order, and their counts."""
        codes = torch.empty(len(self.weights), dtype=torch.int16 if self._size <= 1 << 15 else torch.int32)
        for chunk in self.weights.slices:
            codes[chunk] = self._encode(chunk)
        histogram = torch.bincount(codes, minlength=self._size)
        distinct = histogram.nonzero().flatten()
        return codes, distinct, histogram[distinct]

    def _sort(self) -> tuple[Tensor, Tensor, Tensor]:
        """Do as `_count` for codes too many for a table; here a weight's code is the rank of its interval."""
        pieces = [torch.unique(self._encode(chunk), return_counts=True) for chunk in self.weights.slices]
        found, counts = (torch.cat(column) for column in zip(*pieces, strict=True))
        distinct, rank = torch.unique(found, return_inverse=True)
        total = torch.zeros_like(distinct).scatter_add_(0, rank, counts)
        ranks = torch.empty(len(self.weights), dtype=torch.int32)
        for chunk in self.weights.slices:
            ranks[chunk] = torch.searchsorted(distinct, self._encode(chunk), out_int32=True)
        return ranks, distinct, total

    def per_weight(self, per_interval: Tensor) -> Callable[[slice], Tensor]:
        """Return a function that looks up, in `per_interval` [P], the intervals of a slice of weights."""
        table = per_interval
        if self._counted:
            table = per_interval.new_zeros(self._size)
            table[self._distinct] = per_interval
        return lambda chunk: table.index_select(0, self._codes[chunk].to(torch.int32))

    def free_limit(self) -> int:
        """Return `Candidates.limit` of the largest |mu| that is still free; 0 if no weight is."""
        weights = self.weights
        is_free = self.per_weight((self.cover.cluster == FREE).to(weights.mu.dtype))
        largest = max(float((weights.of(weights.mu, chunk) * is_free(chunk)).abs_().max()) for chunk in weights.slices)
        return self.candidates.limit(largest)

    def keep_free(self) -> None:
        """Let `weights` go on with those that nobody has taken; these intervals are void afterwards."""
        free = self.cover.cluster == FREE
        self.weights.keep(self.per_weight(free), int(self.cover.counts[free].sum()))
