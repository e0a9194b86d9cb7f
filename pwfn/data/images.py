"""Labeled images before any transform, and the seeded stratified choice that makes every split."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from pwfn.errors import RunError, one_line

if TYPE_CHECKING:
    from PIL.Image import Image

Indices = NDArray[np.int64]


class DataError(RunError):
    """Images that are missing, damaged or too few. The message is one line and names the file or the value."""

    def __init__(self, message: str) -> None:
        # An error in a loader's worker process is made anew by torch from the text of its traceback, which ends with
        # the message.
        super().__init__(message.rpartition(f"{__name__}.{type(self).__name__}: ")[2].strip())


class ImageSet(Dataset[tuple["Image", int]]):
    """Yields (PIL image, label). `labels`, int64 [n], is known without reading a single image."""

    labels: Indices

    def __len__(self) -> int:
        return len(self.labels)

    @abstractmethod
    def __getitem__(self, index: int) -> tuple[Image, int]: ...

    @abstractmethod
    def pick(self, indices: Indices) -> Self:
        """Return a set of only these images, in this order."""


class ArrayImages(ImageSet):
    """Images held in memory: `pixels` is uint8 [n, H, W] (gray) or [n, H, W, 3] (RGB)."""

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

    def __init__(self, paths: Sequence[str] | NDArray[np.bytes_], labels: NDArray[Any]) -> None:
        # One array, not a million objects: workers share its memory, as nothing in it has a count of references.
        self.paths = np.asarray([os.fsencode(path) for path in paths] if not isinstance(paths, np.ndarray) else paths)
        self.labels = labels.astype(np.int64)

    def __getitem__(self, index: int) -> tuple[Image, int]:
        """Raise `DataError` naming the file if it cannot be decoded."""
        path = os.fsdecode(self.paths[index])
        return decoded(path, path), int(self.labels[index])

    def pick(self, indices: Indices) -> Self:
        return type(self)(self.paths[indices], self.labels[indices])


def decoded(file: str | IO[bytes], name: str) -> Image:
    """Decode the image in `file`; raise `DataError` beginning with `name` if it is damaged or no image."""
    from PIL import Image

    with readable(name), Image.open(file) as image:
        image.load()
        return image


@contextmanager
def readable(name: str) -> Iterator[None]:
    """Turn what Pillow raises for damaged images into a `DataError` that begins with `name`."""
    from PIL.Image import DecompressionBombError

    try:
        yield
    # SyntaxError and ValueError are how Pillow's PNG and TIFF readers report them
    except (OSError, SyntaxError, ValueError, DecompressionBombError) as error:
        raise DataError(f"{name}: not a readable image ({one_line(error, None)})") from error


def stratified_split(labels: Indices, count: int, seed: int) -> tuple[Indices, Indices]:
    """Choose exactly `count` images, each class its proportional share.

    Shares are rounded down or up so that their sum is `count` (largest remainders first).

    Args:
        labels: of all images, int64 [n].
        count: from 0 to n.
        seed: of the choice.

    Returns:
        The indices chosen, and the rest; both ascending.
    """
    rng = np.random.default_rng(seed)
    sizes = np.bincount(labels)
    shares = sizes * (count / len(labels))
    quotas = np.floor(shares).astype(np.int64)
    # The permutation breaks ties between equal remainders without favoring the first classes.
    by_remainder = rng.permutation(len(sizes))
    by_remainder = by_remainder[np.argsort(-(shares - quotas)[by_remainder], kind="stable")]
    quotas[by_remainder[: count - int(quotas.sum())]] += 1
    chosen = np.zeros(len(labels), dtype=bool)
    for label, quota in enumerate(quotas):
        chosen[rng.permutation(np.flatnonzero(labels == label))[:quota]] = True
    return np.flatnonzero(chosen), np.flatnonzero(~chosen)
