"""Greedy choice on a histogram of intervals: which centroid catches most weights, then which most of the rest.

The weights themselves never appear here: intervals of grid points with the number of weights that share each of them.
Everything is small and on the CPU.
"""

from __future__ import annotations

from bisect import bisect_left, insort

import torch
from torch import Tensor

FREE = -1  # cluster of an interval whose weights nobody has taken
CUT_SHORT = -2  # the last cluster of a round, of which only the nearest weights are taken


class GreedyCover:
    """P distinct intervals `lo[p]..hi[p]` (inclusive, int64, `lo` ascending; empty where hi < lo), `counts[p]` weights each.

    `cluster[p]` tells who took the interval: FREE, a running number, or CUT_SHORT.
    """

    def __init__(self, lo: Tensor, hi: Tensor, counts: Tensor) -> None:
        self.lo, self.hi, self.counts = lo, hi, counts
        self.cluster = torch.full_like(counts, FREE)

    def take(self, points: Tensor, todo: int, next_cluster: int) -> tuple[list[int], int]:
        """Let `points` (sorted int64) take intervals, the largest catch first, until `todo` weights are taken.

        Ties go to the smaller point; each point is taken once. Clusters are numbered from `next_cluster`; the one that
        would catch more than what is left to do is marked CUT_SHORT. Returns the points in the order in which they
        were taken, and how many weights are left to do (with a cut cluster: how many of its members to take).
        """
        size = points.numel()
        start = torch.searchsorted(points, self.lo)  # an interval covers points[start:stop]
        stop = torch.searchsorted(points, self.hi, right=True)
        count = torch.where((self.cluster == FREE) & (start < stop), self.counts, 0)
        gain = _coverage(start, stop, count, size)
        first = torch.searchsorted(start, torch.arange(size + 1)).tolist()  # start is ascending, as lo is
        taken: list[int] = []
        used: list[int] = []
        while todo > 0:
            point = int(gain.argmax())
            catch = int(gain[point])
            if catch == 0:
                break
            # Whoever covered an already used point is gone: only starts after the nearest used point remain.
            position = bisect_left(used, point)
            part = slice(first[used[position - 1] + 1 if position else 0], first[point + 1])
            hit = ((count[part] > 0) & (stop[part] > point)).nonzero().flatten() + part.start
            gain -= _coverage(start[hit], stop[hit], count[hit], size)
            count[hit] = 0
            self.cluster[hit] = next_cluster + len(taken) if catch <= todo else CUT_SHORT
            taken.append(int(points[point]))
            insort(used, point)
            if catch > todo:
                break
            todo -= catch
        return taken, todo


def _coverage(start: Tensor, stop: Tensor, count: Tensor, size: int) -> Tensor:
    """How many weights cover each of `size` points, given the half-open index range and the count of every interval."""
    change = torch.zeros(size + 1, dtype=torch.int64)
    change.index_add_(0, start, count)
    change.index_add_(0, stop, -count)
    return change.cumsum(0)[:-1]
