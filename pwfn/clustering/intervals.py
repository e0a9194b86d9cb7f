"""What each weight reaches at one threshold, as a small integer code per weight and a histogram of the codes.

What a weight reaches is an interval of points (`pwfn.clustering.candidates`) whichever candidates are on offer: orders that are tried at
the same threshold share one pass over the weights.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import itemgetter

import torch
from torch import Tensor

from pwfn.clustering.candidates import Axis
from pwfn.clustering.chunking import count_codes, look_up
from pwfn.clustering.greedy_cover import FREE, GreedyCover
from pwfn.clustering.unassigned import FreeWeights

DENSE_CODES = 1 << 20  # beyond it (a fine grid, a few huge weights) codes are told apart by sorting, not by counting


class Reach:
    """The codes of M free weights at one threshold.

    `cover` is the histogram of their intervals, on the CPU, on which the greedy choice runs; `outcome` carries what it
    decides back to the weights. `limit` is that of the largest |mu| (`Axis.limit`).
    """

    def __init__(self, weights: FreeWeights, axis: Axis, largest_unit: float) -> None:
        self.weights, self.axis = weights, axis
        largest = weights.mu.new_empty(len(weights.parts))  # filled in place, as in `grouped_moments`
        for number, part in enumerate(weights.parts):
            largest[number] = weights.of(weights.mu, part).abs().amax()
        self._largest: list[float] = largest.tolist()
        self.limit = axis.limit(max(self._largest))
        span = axis.span(max(self._largest), largest_unit)
        self._first, self._width = span.first, span.longest
        self._size = (span.count + 1) * self._width
        self._dense = self._size <= max(DENSE_CODES, len(weights) // 8)
        self._codes, self._distinct, counts = self._count() if self._dense else self._sort()
        lo = torch.div(self._distinct, self._width, rounding_mode="floor") + self._first
        self.cover = GreedyCover(lo, lo + self._distinct % self._width - 1, counts)

    def _encode(self, part: slice) -> Tensor:
        """The codes of some weights: first point and length of what they reach, as the digits of one number."""
        segment = self.weights.segment(part)
        first, last = self.axis.interval(*self.weights.float64(part), self.limit, segment)
        if not self._dense:  # codes beyond 2^53 are no float64 numbers
            first, last = first.to(torch.int64), last.to(torch.int64)
        return last.add_(first, alpha=self._width - 1).add_(1 - self._first * self._width)

    def _count(self) -> tuple[Tensor, Tensor, Tensor]:
        """The code of every weight, and on the CPU the distinct codes in ascending order with their counts."""
        codes = self.weights.room_for_codes(torch.int16 if self._size <= 1 << 15 else torch.int32)
        histogram = torch.zeros(self._size, dtype=torch.int64, device=codes.device)
        for part in self.weights.parts:
            codes[part] = self._encode(part)
            count_codes(histogram, codes[part])
        histogram = histogram.cpu()
        distinct = histogram.nonzero().flatten()
        return codes, distinct, histogram[distinct]

    def _sort(self) -> tuple[Tensor, Tensor, Tensor]:
        """As `_count`, for codes too many to count into a table; here a weight's code is the rank of its interval."""
        parts = [torch.unique(self._encode(part), return_counts=True) for part in self.weights.parts]
        found, counts = (torch.cat(x) for x in zip(*parts, strict=True))
        distinct, slot = torch.unique(found, return_inverse=True)
        total = torch.zeros_like(distinct).scatter_add_(0, slot, counts)
        ranks = self.weights.room_for_codes(torch.int32)
        for part in self.weights.parts:
            ranks[part] = torch.searchsorted(distinct, self._encode(part), out_int32=True)
        return ranks, distinct.cpu(), total.cpu()

    def outcome(self, per_interval: Tensor) -> Callable[[slice], Tensor]:
        """A function that gives some of the M weights the entries of their intervals in `per_interval` [P]."""
        table = per_interval
        if self._dense:
            table = per_interval.new_zeros(self._size)
            table[self._distinct] = per_interval
        table = table.to(self._codes.device)
        return lambda part: look_up(table, self._codes[part].to(torch.int32))

    def free_limit(self) -> int:
        """`Axis.limit` of the largest |mu| of the weights that nobody has taken; 0 if there are none.

        It is mostly found in the first few chunks, if they are looked at from the largest weight downwards.
        """
        weights = self.weights
        is_free = self.outcome((self.cover.cluster == FREE).to(weights.mu.dtype))
        limit = 0
        for largest, part in sorted(zip(self._largest, weights.parts, strict=True), key=itemgetter(0), reverse=True):
            if self.axis.limit(largest) <= limit:
                break
            free = weights.of(weights.mu, part) * is_free(part)
            limit = max(limit, self.axis.limit(free.abs_().amax().item()))
        return limit

    def keep_free(self) -> None:
        """Go on with the weights that nobody has taken at this threshold; these codes are void afterwards."""
        free = self.cover.cluster == FREE
        self.weights.keep(self.outcome(free.to(torch.int64)), int(self.cover.counts[free].sum()))
