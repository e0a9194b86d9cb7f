"""Count the weights before the first round and after the last, for pictures and reports."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pwfn.clustering.chunking import in_one_thread
from pwfn.clustering.statistics import value_counts

MOST_VALUES = 512  # more values than that cannot be told apart in a picture anyway
BINS = 240
_LABEL = 0.15  # room for a label below the axis, as a share of half the axis


@dataclass(frozen=True)
class WeightHistogram:
    """Hold the histogram of the weights before the first round, and the values after the last.

    Args:
        weights: how many there are.
        width: up to which the bins are about equally wide, in weight units.
        reach: the bins go from -`reach` to `reach`, in weight units.
        before: weights in each of the `BINS` bins.
        distinct: how many values the weights have after the last round.
        values: the `MOST_VALUES` most frequent of them, sorted.
        counts: weights of each of `values`.

    Most weights crowd around zero and few lie far out, so the bins are equally wide in asinh(x / `width`), which is
    linear up to about `width` and logarithmic beyond.
    """

    weights: int
    width: float
    reach: float
    before: list[int]
    distinct: int
    values: list[float]
    counts: list[int]

    @classmethod
    @in_one_thread()
    def of(cls, before: Tensor, after: Tensor) -> WeightHistogram:
        """Count the same weights before and after, in any shape, all finite."""
        old = before.detach().flatten().float().cpu()
        values, counts = value_counts(after.float().cpu())
        distinct = values.numel()
        if distinct > MOST_VALUES:
            most = counts.topk(MOST_VALUES).indices.sort().values
            values, counts = values[most], counts[most]
        sizes = old[old != 0].abs()
        width = float(sizes.median()) if sizes.numel() else 1e-3
        reach = 1.08 * max(width, float(old.abs().max()), float(values.abs().max()))
        heights, _ = np.histogram(old.numpy(), bins=_edges(width, reach))
        return cls(old.numel(), width, reach, heights.tolist(), distinct, values.tolist(), counts.tolist())

    @property
    def edges(self) -> NDArray[np.float64]:
        """Return the edges of the bins, one more than there are bins."""
        return _edges(self.width, self.reach)

    def ticks(self) -> list[float]:
        """Choose the ticks of an axis over the bins."""
        return ticks(self.width, self.reach)

    def as_dict(self) -> dict[str, Any]:
        """Convert to numbers and lists."""
        return asdict(self)


def ticks(width: float, reach: float) -> list[float]:
    """Choose zero and powers of two of both signs, from the largest inwards while their labels fit.

    The axis goes from -`reach` to `reach` and is equally divided in asinh(x / `width`).
    """
    first, last = math.ceil(math.log2(width / 2)), math.floor(math.log2(reach))
    step = max(1, round((last - first) / 6))
    powers: list[float] = []
    outer = math.inf
    for power in (2.0**n for n in range(last, first - 1, -step)):
        # 0 in the middle of the picture, 1 at its edge
        place = math.asinh(power / width) / math.asinh(reach / width)
        if min(place, outer - place) < _LABEL:
            break
        outer = place
        powers.append(power)
    return [*(-power for power in powers), 0.0, *reversed(powers)]


def _edges(width: float, reach: float) -> NDArray[np.float64]:
    end = np.arcsinh(reach / width)
    edges: NDArray[np.float64] = width * np.sinh(np.linspace(-end, end, BINS + 1))
    return edges


def as_fraction(value: float) -> str:
    """Write a power of two as people read it: 1/8, not 0.125."""
    sign, size = "\N{MINUS SIGN}" if value < 0 else "", abs(value)
    return f"{sign}{size:g}" if size == 0 or size >= 1 else f"{sign}1/{round(1 / size)}"
