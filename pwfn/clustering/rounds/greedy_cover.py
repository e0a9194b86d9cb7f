"""Choose candidates greedily, that of the largest gain first, on a histogram of intervals.

The weights themselves never appear here: intervals of candidate indices with the number of weights that share each of
them. There are some dozens to thousands of them, too few for tensors to pay: the choice runs on Python's integers.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heapify, heappop, heapreplace
from math import log2

import torch
from torch import Tensor

FREE = -1  # cluster of an interval whose weights nobody has taken
CUT_SHORT = -2  # the last cluster of a round, of which only the nearest weights are taken

Gain = Callable[
    [int, int], float
]  # of a candidate: its coverage, and the weights that it has taken before in the round


def most_weights(coverage: int, _taken: int) -> float:
    """Return the gain of the method: the weights that a candidate covers now."""
    return coverage


def most_bits(coverage: int, taken: int) -> float:
    """Return the bits that a candidate saves by its coverage.

    With m = `coverage` and n = `taken` these are `(n + m) log2(n + m) - n log2 n`. N weights of which n_c share the
    value c, while each free one has a value of its own, cost N times their entropy: `N log2 N - sum_c n_c log2 n_c`
    bits. This is by how much that sum falls if m free weights join the n. Two candidates that have taken nothing
    compare as their coverages do; one that was taken before, at a smaller threshold or a lower order, gains more than
    its coverage says, as to be joined by few is cheaper than to be another value.
    """
    together = coverage + taken
    return together * log2(together) - (taken * log2(taken) if taken else 0.0)


@dataclass
class GainRule:
    """Compare candidates by gain through the passes of one round.

    Attributes:
        gain: What a candidate is worth.
        least: A candidate that gains less than this for each weight it covers is passed over.
        taken: How many weights each candidate, by its index, has taken so far; brought up to date by every pass.
    """

    gain: Gain = most_weights
    least: float = 0.0
    taken: dict[int, int] = field(default_factory=dict)

    def of(self, index: int, coverage: int) -> float:
        """Return what a candidate gains that covers so many weights, at least one."""
        return self.gain(coverage, self.taken.get(index, 0))

    def take(self, index: int, weights: int) -> None:
        """Remember that a candidate takes so many weights more."""
        self.taken[index] = self.taken.get(index, 0) + weights


class GreedyCover:
    """Count what P distinct intervals of candidate indices cover, and note which cluster took each.

    Attributes:
        lo: First index of each interval, int64 [P], ascending.
        hi: Last index, int64 [P]; the interval is empty where hi < lo.
        counts: How many weights share each interval, int64 [P].
        cluster: The cluster that has taken each interval, int64 [P]: FREE, a running number, or CUT_SHORT.
        passed_over: Whether a candidate was passed over for gaining too little.
    """

    def __init__(self, lo: Tensor, hi: Tensor, counts: Tensor) -> None:
        self.lo, self.hi, self.counts = lo, hi, counts
        self.cluster = torch.full_like(counts, FREE)
        self.passed_over = False

    def take(self, indices: Tensor, todo: int, next_cluster: int, rule: GainRule) -> tuple[list[int], int]:
        """Let candidates take the intervals that hold them, that of the largest gain first.

        Ties go to the smaller index. Each candidate is taken once. A cluster that would hold more weights than are left
        to assign is marked CUT_SHORT.

        Args:
            indices: The candidates on offer, sorted int64.
            todo: How many weights are to be assigned.
            next_cluster: The number of the first new cluster.
            rule: What a candidate gains.

        Returns:
            The candidates in the order in which they were taken, and how many weights are left to assign (with a
            cluster cut short: how many of its members to take).
        """
        one_pass, names = _Pass(self, indices), indices.tolist()
        # The largest gain on top, of equals the smaller index. Coverages only fall, and gains with them, so what is out
        # of date is too high up, and is put right when it comes to the top.
        heap = [(-rule.of(names[place], n), place) for place, n in enumerate(one_pass.coverage) if n]
        heapify(heap)
        taken: list[int] = []
        while todo > 0 and heap:
            old, place = heap[0]
            coverage = one_pass.coverage[place]
            gain = rule.of(names[place], coverage) if coverage else 0.0
            if not coverage or gain < rule.least * coverage:  # and so it stays, as coverage only falls
                self.passed_over |= coverage > 0
                heappop(heap)
            elif gain != -old:
                heapreplace(heap, (-gain, place))
            else:
                one_pass.assign(place, next_cluster + len(taken) if coverage <= todo else CUT_SHORT)
                taken.append(names[place])
                rule.take(names[place], min(coverage, todo))
                if coverage > todo:
                    break
                todo -= coverage
        self.cluster = torch.tensor(one_pass.cluster, dtype=torch.int64)
        return taken, todo


class _Pass:
    """Pass once over the candidates on offer, and know what each still covers."""

    def __init__(self, cover: GreedyCover, indices: Tensor) -> None:
        begin = torch.searchsorted(indices, cover.lo)  # an interval holds indices[begin:end]; ascending, as lo is
        end = torch.searchsorted(indices, cover.hi, right=True)
        count = cover.counts * ((cover.cluster == FREE) & (begin < end))
        change = torch.zeros(indices.numel() + 1, dtype=torch.int64)
        change.index_add_(0, begin, count).index_add_(0, end, -count)
        self.coverage: list[int] = change.cumsum(0)[:-1].tolist()
        self.cluster: list[int] = cover.cluster.tolist()
        self._begins, self._ends, self._counts = begin.tolist(), end.tolist(), count.tolist()
        self._used: list[int] = []

    def assign(self, place: int, cluster: int) -> None:
        """Give all free intervals that hold a candidate to a cluster."""
        # Intervals that hold a used candidate are taken: only starts after the nearest used one remain.
        position = bisect_left(self._used, place)
        after = self._used[position - 1] if position else -1
        for i in range(bisect_right(self._begins, after), bisect_right(self._begins, place)):
            if self._counts[i] and self._ends[i] > place:
                for covered in range(self._begins[i], self._ends[i]):
                    self.coverage[covered] -= self._counts[i]
                self._counts[i], self.cluster[i] = 0, cluster
        insort(self._used, place)
