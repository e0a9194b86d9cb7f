"""Say what a coder of another package is given and gives back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Weights = dict[str, NDArray[np.float32]]
Point = dict[str, Any]


@dataclass(frozen=True)
class Coded:
    """Hold what a peer made: bytes of its file, and the weights that come out of it."""

    size: int
    weights: Weights


@dataclass(frozen=True)
class Peer:
    """Describe a way to compress.

    Attributes:
        code: is given weights by name, an operating point and an empty folder for its files.
        points: keywords that are tried one after the other, and printed.
        package: its distribution and module, and what pip is told.
        clustered: whether it codes the clustered weights of the run, which must come back bit for bit.
    """

    code: Callable[[Weights, Point, Path], Coded]
    points: Sequence[Point]
    package: tuple[str, str, str]
    clustered: bool = False
