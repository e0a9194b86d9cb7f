"""Define labeled images before any transform, and the seeded stratified choice behind every split."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset
from typing_extensions import override

from pwfn.errors import RunError

if TYPE_CHECKING:
    from PIL.Image import Image

Indices = NDArray[np.int64]


class DataError(RunError):
    """Refuse images that are missing, damaged or too few.

    The message is one line and names the file or the value.
    """

    def __init__(self, message: str) -> None:
        # An error in a loader's worker process is made anew by torch from the text of its traceback, which ends with
        # the message.
        super().__init__(message.rpartition(f"{__name__}.{type(self).__name__}: ")[2].strip())


class ImageSet(Dataset[tuple["Image", int]]):
    """Yield (PIL image, label). `labels`, int64 [n], is known without reading a single image."""

    labels: Indices

    def __len__(self) -> int:
        return len(self.labels)

    @abstractmethod
    def __getitem__(self, index: int) -> tuple[Image, int]: ...

    @abstractmethod
    def pick(self, indices: Indices) -> Self:
        """Return a set of only these images, in this order."""


class ArrayImages(ImageSet):
    """Hold images in memory: `pixels` is uint8 [n, H, W] (gray) or [n, H, W, 3] (RGB)."""

    def __init__(self, pixels: NDArray[np.uint8], labels: NDArray[Any]) -> None:
        self.pixels = pixels
        self.labels = labels.astype(np.int64)

    def __getitem__(self, index: int) -> tuple[Image, int]:
        from PIL import Image

        return Image.fromarray(self.pixels[index]), int(self.labels[index])

    @override
    def pick(self, indices: Indices) -> Self:
        return type(self)(self.pixels[indices], self.labels[indices])


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
