"""The weights that a round has not decided about yet: what is decided is never looked at again."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from pwfn.clustering.chunking import chunks, look_up


class FreeWeights:
    """The M weights, out of N, that nobody has taken; at first all of them.

    `mu` and `unit` [N], what one unit of movement is (the tolerance, or sigma), are those of all weights and only read; `index` [M] holds the ascending positions of the free
    ones (None: all are free); `parts` are slices that cover the M weights chunk by chunk. The N weights are one segment
    or, where `sizes` are given, as many, one after the other; no part reaches over the border of two segments. What is as
    long as the weights is allocated once: memory that is freed in the middle of a round is seldom given back.
    """

    def __init__(self, mu: Tensor, unit: Tensor, sizes: Sequence[int] = ()) -> None:
        self.mu, self.unit = mu, unit
        self.index: Tensor | None = None
        self._borders = torch.tensor(sizes or (mu.numel(),), dtype=torch.int64).cumsum(
            0
        )  # where segments end, in the N
        self._cut(self._borders.tolist())
        self._places = torch.empty(0, dtype=torch.int32 if mu.numel() < 1 << 31 else torch.int64, device=mu.device)
        self._codes = torch.empty(0, dtype=torch.int8, device=mu.device)

    def _cut(self, ends: list[int]) -> None:
        """`parts`, given where each segment ends among the M weights."""
        self._ends, self.parts = ends, []
        for start, end in pairwise([0, *ends]):
            pieces = chunks(end - start, self.mu.device)
            self.parts += [slice(start + piece.start, start + piece.stop) for piece in pieces]

    def segment(self, part: slice) -> int:
        """Which segment the weights of a part belong to."""
        return bisect_right(self._ends, part.start)

    def __len__(self) -> int:
        return self.mu.numel() if self.index is None else self.index.numel()

    def of(self, values: Tensor, part: slice) -> Tensor:
        """What `values` [N] holds for some of the free weights; a view where possible."""
        return values[part] if self.index is None else look_up(values, self.index[part])

    def float64(self, part: slice) -> tuple[Tensor, Tensor]:
        """Mu and unit of some of the free weights, copied to float64."""
        mu, unit = self.of(self.mu, part), self.of(self.unit, part)
        return mu.to(torch.float64, copy=True), unit.to(torch.float64, copy=True)

    def room_for_codes(self, dtype: torch.dtype) -> Tensor:
        """An integer for each free weight [M], not initialized, valid until the next call."""
        if self._codes.dtype != dtype:
            self._codes = torch.empty(len(self), dtype=dtype, device=self.mu.device)
        return self._codes[: len(self)]

    def keep(self, is_free: Callable[[slice], Tensor], n: int) -> None:
        """Go on with the n weights for which `is_free` gives 1, not 0 (int64, for a slice of the M).

        This is index[is_free] without jumps, which no processor can foretell here: a weight that stays is written to the
        next place of the index, any other one to place 0, in front of it. Writing never overtakes reading.
        """
        if self.index is None:
            self._places = self._places.new_empty(n + 1)
        last = torch.zeros((), dtype=torch.int64, device=self.mu.device)
        for part in self.parts:
            if self.index is None:
                position = torch.arange(part.start, part.stop, dtype=self._places.dtype, device=last.device)
            else:
                position = self.index[part].clone()
            stays = is_free(part)
            place = stays.cumsum(0).add_(last)
            last = place[-1].clone()
            self._places.scatter_(0, place.mul_(stays), position)
        self.index = self._places[1 : n + 1]
        if len(self._borders) == 1:
            self._cut([n])
        else:
            borders = self._borders.to(self.index)
            self._cut(torch.searchsorted(self.index, borders).tolist())
