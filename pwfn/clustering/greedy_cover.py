"""Greedy choice on a histogram of intervals: which centroid is worth most, then which of the rest is.

The weights themselves never appear here: intervals of grid points with the number of weights that share each of them.
There are some dozens to thousands of them, too few for tensors to pay: the choice runs on Python's integers.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable
from heapq import heapify, heappop, heapreplace
from math import log2

import torch
from torch import Tensor

FREE = -1  # cluster of an interval whose weights nobody has taken
CUT_SHORT = -2  # the last cluster of a round, of which only the nearest weights are taken


Worth = Callable[
    [int, int], float
]  # of a point, given its catch and how many weights it has caught before in the round


def most_weights(catch: int, caught: int) -> float:
    """The method's: a centroid is worth the weights that it catches now."""
    return catch


def most_bits(catch: int, caught: int) -> float:
    """A centroid is worth the bits that it saves: `(n + m) log2(n + m) - n log2 n` for m = `catch`, n = `caught`.

    N weights of which n_c share the value c, while each free one has a value of its own, cost N times their entropy:
    `N log2 N - sum_c n_c log2 n_c` bits. This is by how much that sum of bits falls if m free weights join the n. Two
    centroids that have caught nothing compare as their catches do; one that was taken before, at a smaller threshold or a
    lower order, is worth more than its catch says, as to be joined by few is cheaper than to be another value.
    """
    together = catch + caught
    return together * log2(together) - (caught * log2(caught) if caught else 0.0)


class GreedyCover:
    """P distinct intervals `lo[p]..hi[p]` (inclusive, int64, `lo` ascending; empty where hi < lo), `counts[p]` weights each.

    `cluster[p]` tells who took the interval: FREE, a running number, or CUT_SHORT. All tensors are on the CPU.
    """

    def __init__(self, lo: Tensor, hi: Tensor, counts: Tensor) -> None:
        self.lo, self.hi, self.counts = lo, hi, counts
        self.cluster = torch.full_like(counts, FREE)
        self.passed_over = False

    def take(
        self,
        points: Tensor,
        todo: int,
        next_cluster: int,
        worth: Worth = most_weights,
        caught: dict[int, int] | None = None,
        least: float = 0.0,
    ) -> tuple[list[int], int]:
        """Let `points` (sorted int64) take intervals, that of the largest worth first, until `todo` weights are taken.

        Ties go to the smaller point; each point is taken once. Clusters are numbered from `next_cluster`; the one that
        would catch more than what is left to do is marked CUT_SHORT. Returns the points in the order in which they
        were taken, and how many weights are left to do (with a cut cluster: how many of its members to take).
        `caught` tells how many weights each point has caught before, and is brought up to date. A point that is worth less
        than `least` for each weight of its catch is passed over (which `passed_over` remembers).
        """
        before = {} if caught is None else caught
        begin = torch.searchsorted(points, self.lo)  # an interval covers points[begin:end]; ascending, as lo is
        end = torch.searchsorted(points, self.hi, right=True)
        count = self.counts * ((self.cluster == FREE) & (begin < end))
        gain = _coverage(begin, end, count, points.numel()).tolist()
        begins, ends, counts, cluster = begin.tolist(), end.tolist(), count.tolist(), self.cluster.tolist()
        names = points.tolist()
        had = [before.get(name, 0) for name in names]
        # The largest worth on top, of equals the smaller point. Gains only fall, and worths with them, so what is out of
        # date is too high up, and is put right when it comes to the top.
        heap = [(-worth(catch, had[point]), point) for point, catch in enumerate(gain) if catch]
        heapify(heap)
        taken: list[int] = []
        used: list[int] = []
        while todo > 0 and heap:
            point = heap[0][1]
            catch = gain[point]
            if not catch:
                heappop(heap)
                continue
            if -(now := -worth(catch, had[point])) < least * catch:  # and so it stays, as its catch only falls
                self.passed_over = True
                heappop(heap)
                continue
            if now != heap[0][0]:
                heapreplace(heap, (now, point))
                continue
            number = next_cluster + len(taken) if catch <= todo else CUT_SHORT
            # Whoever covered an already used point is gone: only starts after the nearest used point remain.
            position = bisect_left(used, point)
            after = used[position - 1] if position else -1
            for i in range(bisect_right(begins, after), bisect_right(begins, point)):
                if counts[i] and ends[i] > point:
                    for covered in range(begins[i], ends[i]):
                        gain[covered] -= counts[i]
                    counts[i], cluster[i] = 0, number
            taken.append(point)
            before[names[point]] = had[point] + min(catch, todo)
            insort(used, point)
            if catch > todo:
                break
            todo -= catch
        self.cluster = torch.tensor(cluster, dtype=torch.int64)
        return [names[point] for point in taken], todo


def _coverage(begin: Tensor, end: Tensor, count: Tensor, size: int) -> Tensor:
    """How many weights cover each of `size` points, given the half-open index range and the count of every interval."""
    change = torch.zeros(size + 1, dtype=torch.int64)
    change.index_add_(0, begin, count).index_add_(0, end, -count)
    return change.cumsum(0)[:-1]
