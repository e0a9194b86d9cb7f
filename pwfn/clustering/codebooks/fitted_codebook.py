"""Make the values of a codebook from the weights: evenly spaced ones, and those of k-means.

They are made once, from the weights as they are when they are first clustered, and stay the same through all later
rounds: a fixed weight keeps its value, and the free ones train towards goals that do not move. (Values made anew in
each round would move every fixed weight with them.)
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import accumulate
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from pwfn.clustering.codebooks.candidates import ListedCandidates, SegmentCandidates
from pwfn.clustering.codebooks.codebook import Codebook, Values, is_limit
from pwfn.clustering.codebooks.weight_bins import Floats, WeightBins
from pwfn.errors import Fault, InvalidValueError, require

Scope = Literal["network", "tensor"]
RANGES = np.exp2(-np.arange(129) / 16)  # tried as the range of a uniform codebook, as shares of the largest magnitude
STEP_BITS = 16  # of a uniform codebook's step: with these, all its multiples up to 127 are float32 numbers


@dataclass(frozen=True)
class FittedValues(Values):
    """Hold values that were made from weights.

    Attributes:
        values: The values of each segment, ascending float32 numbers.
        sizes: How many weights each segment has.
        around_zero: The magnitude below which `zero_fix` lets a weight of each segment reach zero, 0 for nowhere.
    """

    values: tuple[tuple[float, ...], ...]
    sizes: tuple[int, ...]
    around_zero: tuple[float, ...]
    max_order = 1

    @classmethod
    def from_dict(cls, saved: dict[str, Any]) -> FittedValues:
        """Return the values that `as_dict` was asked for."""
        return cls(tuple(map(tuple, saved["values"])), tuple(saved["sizes"]), tuple(saved["around_zero"]))

    @override
    def as_dict(self) -> dict[str, Any]:
        return {
            "values": [list(values) for values in self.values],
            "sizes": list(self.sizes),
            "around_zero": list(self.around_zero),
        }

    @override
    def check(self, low: float, high: float) -> None:
        pass  # a weight may be beyond the outermost value

    @override
    def candidates_at(self, k: float, zero_fix: bool) -> ListedCandidates:
        starts = accumulate((len(values) for values in self.values[:-1]), initial=0)
        columns = zip(self.tables(0.0), self.values, starts, self.around_zero, strict=True)
        segments = [
            SegmentCandidates(table, start, values.index(0.0) if around_zero else 0, around_zero)
            for table, values, start, around_zero in columns
        ]
        return ListedCandidates(segments, k, zero_fix)

    @override
    def indices(self, order: int, limit: int) -> Tensor:
        return torch.arange(sum(map(len, self.values)))

    @override
    def tables(self, largest: float) -> list[Tensor]:
        return [torch.tensor(values, dtype=torch.float64) for values in self.values]

    @override
    def orders(self, values: Tensor) -> None:
        return None


class FittedCodebook(Codebook):
    """Make values of the weights of the whole network or of each of its tensors, by `scope`."""

    scope: Scope
    max_order = 1

    @property
    @override
    def per_tensor(self) -> bool:
        return self.scope == "tensor"

    @override
    def fit(self, mu: Tensor, sizes: Sequence[int]) -> FittedValues:
        sizes = tuple(sizes) if self.per_tensor and sizes else (mu.numel(),)
        made = [self.fit_values(WeightBins.of(piece)) for piece in mu.split(sizes)]
        values = (tuple(np.unique(one.astype(np.float32)).astype(np.float64).tolist()) for one, _ in made)
        return FittedValues(tuple(values), sizes, tuple(around_zero for _, around_zero in made))

    @abstractmethod
    def fit_values(self, weights: WeightBins) -> tuple[Floats, float]:
        """Return values for these weights, and the magnitude below which `zero_fix` means zero (0 for none).

        Raises:
            InvalidValueError: If there are no such values for these weights.
        """


@dataclass(frozen=True)
class Uniform(FittedCodebook):
    """Space values evenly: `j * s` for the integers j from `-L` to `L`, `L = 2^(bits-1) - 1`.

    The step is `s = r / L`, rounded to 16 bits of significand, so that every value is a float32 number.

    Attributes:
        bits: 2 to 8.
        within: The share of the weights with a magnitude of at most the range r; 1 is the largest magnitude. Without it
            (None) r is that of `RANGES` with the least sum of squared distances to the nearest value: a few large
            weights among many small ones would otherwise leave most of them at zero.
        scope: network or tensor.
    """

    bits: int = 4
    within: float | None = None
    scope: Scope = "network"
    per_tensor_max: int | None = None

    def __post_init__(self) -> None:
        require(
            self,
            bits=(2 <= self.bits <= 8, "an integer from 2 (-s, 0, s) to 8"),
            within=(self.within is None or 0 < self.within <= 1, "above 0 and at most 1, or null"),
            scope=(self.scope in ("network", "tensor"), "network or tensor"),
            per_tensor_max=is_limit(self.per_tensor_max),
        )

    @override
    def fit_values(self, weights: WeightBins) -> tuple[Floats, float]:
        largest = float(np.abs(weights.means).max())
        if largest == 0:
            return np.zeros(1), 0.0
        if self.within is None:
            tables = [self._table(share * largest) for share in RANGES.tolist()]
            table = min(tables, key=weights.error)
        else:
            table = self._table(weights.magnitude(self.within) or largest)
        return table, float(table[len(table) // 2 + 1]) / 2

    def _table(self, range_: float) -> Floats:
        levels = (1 << (self.bits - 1)) - 1
        significand, exponent = np.frexp(range_ / levels)
        step = np.ldexp(np.rint(significand * 2.0**STEP_BITS), exponent - STEP_BITS)
        table: Floats = np.arange(-levels, levels + 1) * step
        return table


@dataclass(frozen=True)
class KMeans(FittedCodebook):
    """Take the means of the groups with the least sum of squared distances of weights to them.

    The exact optimum of one-dimensional k-means, by dynamic programming (Wang and Song 2011, Ckmeans.1d.dp), of up to
    65,536 weights. Of more, groups end at borders of as many bins of equal width
    (`pwfn.clustering.codebooks.weight_bins`).

    Attributes:
        values: How many, 2 to 1024; with the scope tensor, a tensor of fewer distinct weights gets one value for each.
        scope: network or tensor.
    """

    values: int = 16
    scope: Scope = "network"
    per_tensor_max: int | None = None

    def __post_init__(self) -> None:
        require(
            self,
            values=(2 <= self.values <= 1024, "an integer from 2 to 1024"),
            scope=(self.scope in ("network", "tensor"), "network or tensor"),
            per_tensor_max=is_limit(self.per_tensor_max),
        )
        if find_spec("ckwrap") is None:
            raise ValueError("k-means needs the package ckwrap: pip install 'pwfn[kmeans]'")

    @override
    def fit_values(self, weights: WeightBins) -> tuple[Floats, float]:
        distinct = len(weights.means)
        if distinct < self.values and not self.per_tensor:
            raise InvalidValueError(
                [Fault("codebook.values", self.values, f"at most {distinct}, the distinct weights")]
            )
        if distinct <= self.values:
            return weights.means, 0.0
        from ckwrap import ckmeans

        group = np.asarray(ckmeans(weights.means, self.values, weights=weights.counts).labels)
        total = np.bincount(group, weights=weights.counts * weights.means)
        return total / np.bincount(group, weights=weights.counts), 0.0
