"""Say what a coder of another package is given and gives back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

Weights = dict[str, NDArray[np.float32]]
Point = dict[str, Any]


@dataclass(frozen=True)
class Coded:
    """Hold what a peer made: bytes of its file, and the weights that come out of it."""

    size: int
    weights: Weights


@dataclass(frozen=True)
class Trained:
    """Hold what a peer that trains made: bytes of its weights, and the whole network."""

    size: float
    network: nn.Module


@dataclass(frozen=True)
class Peer:
    """Describe a way to compress.

    Attributes:
        code: is given weights by name, an operating point and an empty folder for its files; None for one that trains.
        points: keywords that are tried one after the other, and printed.
        package: its distribution and module, and what pip is told.
        clustered: whether it codes the clustered weights of the run, which must come back bit for bit.
        train: is given the network, its training batches, the names of the weights and an operating point.
    """

    code: Callable[[Weights, Point, Path], Coded] | None
    points: Sequence[Point]
    package: tuple[str, str, str]
    clustered: bool = False
    train: Callable[[nn.Module, Iterable[Any], list[str], Point], Trained] | None = None
