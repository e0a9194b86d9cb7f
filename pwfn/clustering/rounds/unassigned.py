"""Keep track of the weights that a round has not assigned yet; no other is looked at again."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise

import torch
from torch import Tensor

from pwfn.clustering.chunking import chunks


class UnassignedWeights:
    """Hold the M weights, out of N, that no candidate has taken; at first all of them.

    The N weights are one segment or, where `sizes` are given, as many, one after the other.

    Attributes:
        mu: Means of all N weights, only read.
        tolerance: Tolerances of all N weights, only read.
        index: Ascending positions of the unassigned weights [M]; None: all N.
        slices: Slices that cover the M weights chunk by chunk; none reaches over the border of two segments.
    """

    def __init__(self, mu: Tensor, tolerance: Tensor, sizes: Sequence[int] = ()) -> None:
        self.mu, self.tolerance = mu, tolerance
        self.index: Tensor | None = None
        self._dtype = torch.int32 if mu.numel() < 1 << 31 else torch.int64
        self._borders = list(accumulate(sizes or (mu.numel(),)))  # where segments end, among the N
        self._cut(self._borders)

    def __len__(self) -> int:
        return self.mu.numel() if self.index is None else self.index.numel()

    def _cut(self, ends: list[int]) -> None:
        """Set `slices`, given where each segment ends among the M weights."""
        self._ends, self.slices = ends, []
        for start, end in pairwise([0, *ends]):
            self.slices += [slice(start + chunk.start, start + chunk.stop) for chunk in chunks(end - start)]

    def segment(self, chunk: slice) -> int:
        """Return which segment the weights of a slice belong to."""
        return bisect_right(self._ends, chunk.start)

    def positions(self, chunk: slice) -> Tensor:
        """Return where some of the M weights are among the N."""
        return torch.arange(chunk.start, chunk.stop, dtype=self._dtype) if self.index is None else self.index[chunk]

    def of(self, values: Tensor, chunk: slice) -> Tensor:
        """Return what `values` [N] holds for some of the M weights; a view where possible."""
        return values[chunk] if self.index is None else values.index_select(0, self.index[chunk])

    def float64(self, chunk: slice) -> tuple[Tensor, Tensor]:
        """Return mu and tolerance of some of the M weights, copied to float64."""
        mu, tolerance = self.of(self.mu, chunk), self.of(self.tolerance, chunk)
        return mu.to(torch.float64, copy=True), tolerance.to(torch.float64, copy=True)

    def select(self, is_selected: Callable[[slice], Tensor], n: int) -> Tensor:
        """Return the positions, among the N, of the n weights for which `is_selected` is true in a slice."""
        selected, end = torch.empty(n, dtype=self._dtype), 0
        for chunk in self.slices:
            positions = self.positions(chunk)[is_selected(chunk)]
            selected[end : (end := end + positions.numel())] = positions
        return selected

    def keep(self, is_kept: Callable[[slice], Tensor], n: int) -> None:
        """Go on with the n weights for which `is_kept` is true in a slice."""
        self.index = self.select(is_kept, n)
        self._cut(torch.searchsorted(self.index, torch.tensor(self._borders, dtype=self._dtype)).tolist())
