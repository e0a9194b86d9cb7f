"""What each weight reaches at one threshold, as a small integer code per weight and a histogram of the codes.

All centroids are multiples of the grid step 2^-b, so what a weight reaches is an interval of grid points whichever
candidates are on offer: orders that are tried at the same threshold share one pass over the weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from pwfn.greedy import FREE, GreedyCover

MIN_REACH_SIGMA = 2.0**-20  # in units of the weights: no weight is held tighter than this when it looks for a centroid
CHUNK = 1 << 17  # elements: a handful of float32 temporaries of this size stay in a core's cache
DENSE_CODES = 1 << 20  # beyond it (a few huge weights) codes are told apart by sorting, not by counting into a table
MAX_LIMIT_BITS = 30  # no weight may be 2^30 grid steps large: a code is below 4 * limit^2 and must fit into int64


def chunks(n: int) -> Iterator[slice]:
    """Slices that cover n weights in order."""
    return (slice(i, min(i + CHUNK, n)) for i in range(0, n, CHUNK))


@dataclass(frozen=True)
class Grid:
    """The units of one threshold: `step` is the grid's step, `k` the threshold in sigmas, `zero_fix` as in the method."""

    step: float
    k: float
    zero_fix: bool

    def interval(self, mu: Tensor, sigma: Tensor, limit: int) -> tuple[Tensor, Tensor]:
        """First and last grid point within reach (in steps, clamped to +-limit, as floats); none if first > last."""
        scale = 1.0 / self.step
        mu = mu * scale
        reach = sigma.clamp(min=MIN_REACH_SIGMA).mul_(self.k * scale)
        first = (mu - reach).ceil_().clamp_(-limit, limit + 1)
        last = (mu + reach).floor_().clamp_(-limit - 1, limit)
        if self.zero_fix:
            tiny = mu.abs_() < 1
            first = torch.where(tiny, first.clamp(max=0), first)
            last = torch.where(tiny, last.clamp(min=0), last)
        return first, last


class Reach:
    """The codes of N free weights at one threshold.

    `cover` is the histogram of their intervals, on the CPU, on which the greedy choice runs; `clusters` carries its
    outcome back to the weights.
    """

    def __init__(self, mu: Tensor, sigma: Tensor, grid: Grid) -> None:
        self.grid = grid
        self.limit = int(mu.abs().max().item() / grid.step)
        farthest = grid.k * max(sigma.max().item(), MIN_REACH_SIGMA) / grid.step
        # Two more than the widest interval has steps: one since both its ends count, one for rounding.
        self._width = int(min(2 * farthest, 2 * self.limit)) + 2
        self._none = (2 * self.limit + 1) * self._width  # the code of a weight that reaches no grid point
        self._dense = self._none < DENSE_CODES
        self._codes, self._distinct, counts = (self._count if self._dense else self._sort)(mu, sigma)
        lo = torch.div(self._distinct, self._width, rounding_mode="floor") - self.limit
        hi = torch.where(self._distinct == self._none, lo - 1, lo + self._distinct % self._width)
        self.cover = GreedyCover(lo, hi, counts)

    def _encode(self, first: Tensor, last: Tensor) -> Tensor:
        span = last.sub_(first)
        code = first.add_(self.limit).mul_(self._width).add_(span)
        return code.masked_fill_(span < 0, self._none)

    def _count(self, mu: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The code of every weight, and on the CPU the distinct codes in ascending order with their counts."""
        dtype = torch.int16 if self._none < 1 << 15 else torch.int32
        codes = torch.empty(mu.shape, dtype=dtype, device=mu.device)
        table = torch.zeros(self._none + 1, dtype=torch.int64, device=mu.device)
        for part in chunks(mu.numel()):
            codes[part] = self._encode(*self.grid.interval(mu[part], sigma[part], self.limit))  # exact: below 2^24
            table += torch.bincount(codes[part], minlength=self._none + 1)
        table = table.cpu()
        distinct = table.nonzero().flatten()
        return codes, distinct, table[distinct]

    def _sort(self, mu: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As `_count`, for codes too many to count into a table; here a weight's code is the rank of its interval."""
        codes = torch.empty(mu.shape, dtype=torch.int64, device=mu.device)
        for part in chunks(mu.numel()):
            first, last = self.grid.interval(mu[part].double(), sigma[part].double(), self.limit)
            codes[part] = self._encode(first.to(torch.int64), last.to(torch.int64))  # beyond 2^53: not as floats
        distinct, ranks, counts = torch.unique(codes, return_inverse=True, return_counts=True)
        return ranks, distinct.cpu(), counts.cpu()

    def clusters(self) -> Iterator[tuple[slice, Tensor]]:
        """Chunk by chunk, the cluster (int32) of every weight as it stands: FREE, a number, or CUT_SHORT."""
        per_code = self.cover.cluster.to(torch.int32)
        if self._dense:
            table = torch.full((self._none + 1,), FREE, dtype=torch.int32)
            table[self._distinct] = per_code
            per_code = table
        per_code = per_code.to(self._codes.device)
        for part in chunks(self._codes.numel()):
            yield part, per_code[self._codes[part].to(torch.int32)]
