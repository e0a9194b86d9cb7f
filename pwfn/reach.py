"""What each weight reaches at one threshold, as a small integer code per weight and a histogram of the codes.

All centroids are multiples of the grid step 2^-b, so what a weight reaches is an interval of grid points whichever
candidates are on offer: orders that are tried at the same threshold share one pass over the weights. Intervals are
computed in float64 whatever the dtype of the weights, so that the same numbers give the same clusters in every dtype.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from operator import itemgetter

import torch
from torch import Tensor

from pwfn.free_weights import FreeWeights
from pwfn.greedy import FREE, GreedyCover
from pwfn.passes import count_codes, look_up

MIN_REACH_SIGMA = 2.0**-20  # in units of the weights: no weight is held tighter than this when it looks for a centroid
DENSE_CODES = 1 << 20  # beyond it (a fine grid, a few huge weights) codes are told apart by sorting, not by counting
MAX_LIMIT_BITS = 30  # no weight may be 2^30 grid steps large: a code is below 4 * limit^2 and must fit into int64


@dataclass(frozen=True)
class Grid:
    """The units of one threshold: `step` is the grid's step, `k` the threshold in sigmas, `zero_fix` as in the method."""

    step: float
    k: float
    zero_fix: bool

    def interval(self, mu: Tensor, sigma: Tensor, limit: int) -> tuple[Tensor, Tensor]:
        """First and last grid point within reach (in steps, within +-limit); none if first > last.

        `mu` and `sigma` are float64 and overwritten.
        """
        scale = 1.0 / self.step
        mu.mul_(scale)
        reach = sigma.clamp_(min=MIN_REACH_SIGMA).mul_(self.k * scale)
        first = (mu - reach).ceil_().clamp_(min=-limit)
        last = reach.add_(mu).floor_().clamp_(max=limit)
        if self.zero_fix:  # where |mu| < 1, 0 bounds first from above and last from below; elsewhere nothing comes near
            bound = mu.abs_().floor_().mul_(2)
            torch.minimum(first, bound, out=first)
            torch.maximum(last, bound.neg_(), out=last)
        return first, last


class Reach:
    """The codes of M free weights at one threshold.

    `cover` is the histogram of their intervals, on the CPU, on which the greedy choice runs; `outcome` carries what it
    decides back to the weights. `limit` is the largest |mu| in whole grid steps.
    """

    def __init__(self, weights: FreeWeights, grid: Grid, largest_sigma: float) -> None:
        self.weights, self.grid = weights, grid
        largest = weights.mu.new_empty(len(weights.parts))  # filled in place, as in `grouped_moments`
        for number, part in enumerate(weights.parts):
            largest[number] = weights.of(weights.mu, part).abs().amax()
        self._largest: list[float] = largest.tolist()
        self.limit = int(max(self._largest) / grid.step)
        farthest = grid.k * max(largest_sigma, MIN_REACH_SIGMA) / grid.step
        # Three more than the widest interval has steps: its ends both count, so does emptiness, and one for rounding.
        self._width = int(min(2 * farthest, 2 * self.limit)) + 3
        self._size = (2 * self.limit + 2) * self._width
        self._dense = self._size <= max(DENSE_CODES, len(weights) // 8)
        self._codes, self._distinct, counts = self._count() if self._dense else self._sort()
        lo = torch.div(self._distinct, self._width, rounding_mode="floor") - self.limit
        self.cover = GreedyCover(lo, lo + self._distinct % self._width - 1, counts)

    def _encode(self, part: slice) -> Tensor:
        """The codes of some weights: first point and length of what they reach, as the digits of one number."""
        first, last = self.grid.interval(*self.weights.float64(part), self.limit)
        if not self._dense:  # codes beyond 2^53 are no float64 numbers
            first, last = first.to(torch.int64), last.to(torch.int64)
        return last.add_(first, alpha=self._width - 1).add_(self.limit * self._width + 1)

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
        """The largest |mu|, in whole grid steps, of the weights that nobody has taken; 0 if there are none.

        It is mostly found in the first few chunks, if they are looked at from the largest weight downwards.
        """
        weights, step = self.weights, self.grid.step
        is_free = self.outcome((self.cover.cluster == FREE).to(weights.mu.dtype))
        limit = 0
        for largest, part in sorted(zip(self._largest, weights.parts, strict=True), key=itemgetter(0), reverse=True):
            if int(largest / step) <= limit:
                break
            free = weights.of(weights.mu, part) * is_free(part)
            limit = max(limit, int(free.abs_().amax().item() / step))
        return limit

    def keep_free(self) -> None:
        """Go on with the weights that nobody has taken at this threshold; these codes are void afterwards."""
        free = self.cover.cluster == FREE
        self.weights.keep(self.outcome(free.to(torch.int64)), int(self.cover.counts[free].sum()))
