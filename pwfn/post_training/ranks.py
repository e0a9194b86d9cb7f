"""Name what a clustering needs of the other ranks of a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor


def _itself(tensor: Tensor) -> Tensor:
    return tensor


@dataclass(frozen=True)
class Ranks:
    """Share sums and decisions; by default there is one process only.

    Attributes:
        total: sums a tensor over all ranks.
        decided: returns rank 0's tensor on every rank.
    """

    total: Callable[[Tensor], Tensor] = _itself
    decided: Callable[[Tensor], Tensor] = _itself
