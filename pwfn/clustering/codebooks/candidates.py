"""Number the candidates, so that those a weight reaches are an interval of integers.

Candidate indices ascend with their values and keep their meaning through all thresholds and orders of a round, so that
one pass over the weights serves every choice made at the same threshold. Intervals are computed in float64 whatever the
dtype of the weights, so that the same numbers give the same clusters in every dtype.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import override

from pwfn.clustering.tolerance import MIN_TOLERANCE

# the first and the last candidate index that each weight reaches; none if first > last
Interval = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class IndexRange:
    """Span the indices of all candidates.

    Attributes:
        first: The smallest index.
        count: How many there are.
        longest: Above the length of any interval.
    """

    first: int
    count: int
    longest: int


class Candidates(ABC):
    """Number the candidates at one threshold.

    Weight i reaches candidate c where `|mu_i - c| <= k * max(tolerance_i, 2^-20)`. With `zero_fix` tiny weights
    always reach zero.
    """

    k: float
    zero_fix: bool

    @abstractmethod
    def index_range(self, largest: float, largest_tolerance: float) -> IndexRange:
        """Return the indices in use for weights of at most this magnitude and tolerance."""

    @abstractmethod
    def limit(self, largest: float) -> int:
        """Return the largest index on offer to weights up to a magnitude; 0 where they may use all."""

    @abstractmethod
    def interval(self, mu: Tensor, tolerance: Tensor, limit: int, segment: int = 0) -> Interval:
        """Return the first and the last candidate index that each weight reaches; none if first > last.

        Args:
            mu: Means of weights of one segment, float64 [n]; overwritten.
            tolerance: Their tolerances, float64 [n], not negative; overwritten.
            limit: `limit` of the largest magnitude of all weights.
            segment: Which of the codebook's segments the weights belong to.
        """

    @abstractmethod
    def value(self, index: int) -> float:
        """Return the value of a candidate."""

    @abstractmethod
    def zero_radius(self, index: int) -> float:
        """Return the magnitude below which weights always reach the candidate; 0 for none."""


@dataclass(frozen=True)
class GridCandidates(Candidates):
    """Number the multiples of `step`, a power of two: index p has the value p * step."""

    step: float
    k: float
    zero_fix: bool

    @override
    def index_range(self, largest: float, largest_tolerance: float) -> IndexRange:
        limit = self.limit(largest)
        farthest = self.k * max(largest_tolerance, MIN_TOLERANCE) / self.step
        # Three more than the widest interval has steps: its ends both count, so does emptiness, and one for rounding.
        return IndexRange(-limit, 2 * limit + 1, int(min(2 * farthest, 2 * limit)) + 3)

    @override
    def limit(self, largest: float) -> int:
        return int(largest / self.step)

    @override
    def interval(self, mu: Tensor, tolerance: Tensor, limit: int, segment: int = 0) -> Interval:
        scale = 1.0 / self.step
        mu.mul_(scale)
        distance = tolerance.clamp_(min=MIN_TOLERANCE).mul_(self.k * scale)
        first = (mu - distance).ceil_().clamp_(min=-limit)
        last = distance.add_(mu).floor_().clamp_(max=limit)
        if self.zero_fix:
            is_tiny = mu.abs_() < 1
            first = torch.where(is_tiny, first.clamp(max=0), first)
            last = torch.where(is_tiny, last.clamp(min=0), last)
        return first, last

    @override
    def value(self, index: int) -> float:
        return index * self.step

    @override
    def zero_radius(self, index: int) -> float:
        return self.step if self.zero_fix and index == 0 else 0.0


@dataclass(frozen=True)
class SegmentCandidates:
    """Hold one segment's candidates: `values` (float64, ascending) have the indices from `start` on.

    With `zero_fix` a weight of a magnitude below `around_zero` reaches `zero`, the place of 0 among the values;
    `around_zero` is 0 where there is no such weight, or no 0 among the values.
    """

    values: Tensor
    start: int
    zero: int
    around_zero: float


@dataclass(frozen=True)
class ListedCandidates(Candidates):
    """Number any values segment after segment, so that intervals of two segments never meet."""

    segments: Sequence[SegmentCandidates]
    k: float
    zero_fix: bool

    @override
    def index_range(self, largest: float, largest_tolerance: float) -> IndexRange:
        sizes = [segment.values.numel() for segment in self.segments]
        return IndexRange(0, sum(sizes), max(sizes) + 1)

    @override
    def limit(self, largest: float) -> int:
        return 0

    @override
    def interval(self, mu: Tensor, tolerance: Tensor, limit: int, segment: int = 0) -> Interval:
        own = self.segments[segment]
        distance = tolerance.clamp_(min=MIN_TOLERANCE).mul_(self.k)
        first = torch.searchsorted(own.values, mu - distance)
        last = torch.searchsorted(own.values, distance.add_(mu), right=True).sub_(1)
        if self.zero_fix and own.around_zero:
            is_tiny = mu.abs_() < own.around_zero
            first = torch.where(is_tiny, first.clamp(max=own.zero), first)
            last = torch.where(is_tiny, last.clamp(min=own.zero), last)
        return first.add_(own.start), last.add_(own.start)

    @override
    def value(self, index: int) -> float:
        own = self._segment_of(index)
        return float(own.values[index - own.start])

    @override
    def zero_radius(self, index: int) -> float:
        own = self._segment_of(index)
        return own.around_zero if self.zero_fix and index - own.start == own.zero else 0.0

    def _segment_of(self, index: int) -> SegmentCandidates:
        return self.segments[bisect_right(self.segments, index, key=lambda segment: segment.start) - 1]
