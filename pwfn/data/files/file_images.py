"""Read images that lie in one file each."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from pwfn.data.files.decoding import decoded
from pwfn.data.images import ImageSet, Indices

if TYPE_CHECKING:
    from PIL.Image import Image


class FileImages(ImageSet):
    """Read images from one file each, when asked for.

    Args:
        paths: of the files, as text or as an array of bytes [n].
        labels: class numbers [n].
        exif: turn images as their EXIF orientation says.
    """

    def __init__(self, paths: Sequence[str] | NDArray[np.bytes_], labels: NDArray[Any], *, exif: bool = False) -> None:
        # One array, not a million objects: workers share its memory, as nothing in it has a count of references.
        self.paths = np.asarray([os.fsencode(path) for path in paths] if not isinstance(paths, np.ndarray) else paths)
        self.labels = labels.astype(np.int64)
        self.exif = exif

    def __getitem__(self, index: int) -> tuple[Image, int]:
        """Raise `DataError` naming the file if it cannot be decoded."""
        path = os.fsdecode(self.paths[index])
        return decoded(path, path, exif=self.exif), int(self.labels[index])

    @override
    def pick(self, indices: Indices) -> Self:
        return type(self)(self.paths[indices], self.labels[indices], exif=self.exif)
