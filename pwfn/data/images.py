"""Labelled images before any transform, and the seeded stratified choice every split is made with."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from pwfn.faults import RunError

if TYPE_CHECKING:
    from PIL.Image import Image

Indices = NDArray[np.int64]


class DataError(RunError):
    """Images that are missing, damaged or too few. The message is one line and names the file or the value."""


class ImageSet(Dataset[tuple["Image", int]]):
    """Yields (PIL image, label). `labels`, int64 [n], is known without reading a single image."""

    labels: Indices

    def __len__(self) -> int:
        return len(self.labels)

    @abstractmethod
    def __getitem__(self, index: int) -> tuple[Image, int]: ...

    @abstractmethod
    def pick(self, indices: Indices) -> Self:
        """A set of only these images, in this order."""


class ArrayImages(ImageSet):
    """Images held in memory: `pixels` is uint8 [n, H, W] (grey) or [n, H, W, 3] (RGB)."""

    def __init__(self, pixels: NDArray[np.uint8], labels: NDArray[Any]) -> None:
        self.pixels = pixels
        self.labels = labels.astype(np.int64)

    def __getitem__(self, index: int) -> tuple[Image, int]:
        from PIL import Image

        return Image.fromarray(self.pixels[index]), int(self.labels[index])

    def pick(self, indices: Indices) -> Self:
        return type(self)(self.pixels[indices], self.labels[indices])


class FileImages(ImageSet):
    """Images read from one file each, when asked for."""

    def __init__(self, paths: Sequence[Path], labels: NDArray[Any]) -> None:
        self.paths = list(paths)
        self.labels = labels.astype(np.int64)

    def __getitem__(self, index: int) -> tuple[Image, int]:
        """Raise `DataError` naming the file if it cannot be decoded."""
        from PIL import Image

        path = self.paths[index]
        try:
            with Image.open(path) as image:
                image.load()
        # SyntaxError and ValueError are how Pillow's PNG and TIFF readers report damaged files
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            reason = " ".join(str(error).split())
            raise DataError(f"{path}: not a readable image ({reason})") from error
        return image, int(self.labels[index])

    def pick(self, indices: Indices) -> Self:
        return type(self)([self.paths[i] for i in indices], self.labels[indices])


def stratified_split(labels: Indices, count: int, seed: int) -> tuple[Indices, Indices]:
    """A seeded choice of exactly `count` of the images, and the rest; both as ascending indices.

    Each class gives its proportional share, rounded down or up so that the sum is `count` (largest remainders first).
    """
    rng = np.random.default_rng(seed)
    sizes = np.bincount(labels)
    shares = sizes * (count / len(labels))
    quotas = np.floor(shares).astype(np.int64)
    # The permutation breaks ties between equal remainders without favouring the first classes.
    by_remainder = rng.permutation(len(sizes))
    by_remainder = by_remainder[np.argsort(-(shares - quotas)[by_remainder], kind="stable")]
    quotas[by_remainder[: count - int(quotas.sum())]] += 1
    chosen = np.zeros(len(labels), dtype=bool)
    for label, quota in enumerate(quotas):
        chosen[rng.permutation(np.flatnonzero(labels == label))[:quota]] = True
    return np.flatnonzero(chosen), np.flatnonzero(~chosen)
