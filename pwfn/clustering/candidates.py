"""The values on offer as integers, the *points* of an axis: what a weight reaches is then an interval of points.

Points ascend with their values. They keep their meaning through all thresholds and orders of a round, so that a pass over
the weights serves every choice made at the same threshold. Intervals are computed in float64 whatever the dtype of the
weights, so that the same numbers give the same clusters in every dtype.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

MIN_UNIT = 2.0**-20  # in units of the weights: no weight is held tighter than this when it looks for a centroid


@dataclass(frozen=True)
class Span:
    """Where the points of an axis lie: `count` of them from `first` on; `longest` is above the length of any interval."""

    first: int
    count: int
    longest: int


class Axis(ABC):
    """An axis at one threshold `k`, in each weight's own unit of movement; with `zero_fix` tiny weights always reach zero."""

    k: float
    zero_fix: bool

    @abstractmethod
    def span(self, largest: float, largest_unit: float) -> Span:
        """For weights of magnitude at most `largest`, with a unit of at most `largest_unit`."""

    @abstractmethod
    def limit(self, largest: float) -> int:
        """The largest point that a magnitude of `largest` is above, where magnitudes bound what is on offer; else 0."""

    @abstractmethod
    def interval(self, mu: Tensor, unit: Tensor, limit: int, segment: int = 0) -> tuple[Tensor, Tensor]:
        """First and last point within reach of weights of one segment; none if first > last.

        `mu` and `unit` are float64 and overwritten; `limit` is that of the largest of all weights.
        """

    @abstractmethod
    def value(self, point: int) -> float:
        """What the point stands for."""

    @abstractmethod
    def tiny(self, point: int) -> float:
        """Weights of a magnitude below this always reach the point; 0 for all points but those at zero."""


@dataclass(frozen=True)
class Grid(Axis):
    """The multiples of `step`, a power of two: point p is p * step."""

    step: float
    k: float
    zero_fix: bool

    def span(self, largest: float, largest_unit: float) -> Span:
        limit = self.limit(largest)
        farthest = self.k * max(largest_unit, MIN_UNIT) / self.step
        # Three more than the widest interval has steps: its ends both count, so does emptiness, and one for rounding.
        return Span(-limit, 2 * limit + 1, int(min(2 * farthest, 2 * limit)) + 3)

    def limit(self, largest: float) -> int:
        return int(largest / self.step)

    def interval(self, mu: Tensor, unit: Tensor, limit: int, segment: int = 0) -> tuple[Tensor, Tensor]:
        scale = 1.0 / self.step
        mu.mul_(scale)
        reach = unit.clamp_(min=MIN_UNIT).mul_(self.k * scale)
        first = (mu - reach).ceil_().clamp_(min=-limit)
        last = reach.add_(mu).floor_().clamp_(max=limit)
        if self.zero_fix:  # where |mu| < 1, 0 bounds first from above and last from below; elsewhere nothing comes near
            bound = mu.abs_().floor_().mul_(2)
            torch.minimum(first, bound, out=first)
            torch.maximum(last, bound.neg_(), out=last)
        return first, last

    def value(self, point: int) -> float:
        return point * self.step

    def tiny(self, point: int) -> float:
        return self.step if self.zero_fix and point == 0 else 0.0


@dataclass(frozen=True)
class Segment:
    """The values for the weights of one segment: `values` (float64, ascending, on the weights' device) are the points from
    `start` on. With `zero_fix` a weight of a magnitude below `around_zero` reaches `zero`, the place of 0 among them."""

    values: Tensor
    start: int
    zero: int
    around_zero: float  # 0 where there is no such weight, or no 0 among the values


@dataclass(frozen=True)
class Listed(Axis):
    """Any values, segment after segment, so that intervals of two segments never meet."""

    segments: Sequence[Segment]
    k: float
    zero_fix: bool

    def span(self, largest: float, largest_unit: float) -> Span:
        sizes = [segment.values.numel() for segment in self.segments]
        return Span(0, sum(sizes), max(sizes) + 1)

    def limit(self, largest: float) -> int:
        return 0

    def interval(self, mu: Tensor, unit: Tensor, limit: int, segment: int = 0) -> tuple[Tensor, Tensor]:
        own = self.segments[segment]
        reach = unit.clamp_(min=MIN_UNIT).mul_(self.k)
        first = torch.searchsorted(own.values, mu - reach)
        last = torch.searchsorted(own.values, reach.add_(mu), right=True).sub_(1)
        if self.zero_fix and own.around_zero:
            is_tiny = mu.abs_() < own.around_zero
            first = torch.where(is_tiny, first.clamp(max=own.zero), first)
            last = torch.where(is_tiny, last.clamp(min=own.zero), last)
        return first.add_(own.start), last.add_(own.start)

    def value(self, point: int) -> float:
        own = self._segment(point)
        return float(own.values[point - own.start])

    def tiny(self, point: int) -> float:
        own = self._segment(point)
        return own.around_zero if self.zero_fix and point - own.start == own.zero else 0.0

    def _segment(self, point: int) -> Segment:
        return self.segments[bisect_right(self.segments, point, key=lambda segment: segment.start) - 1]
