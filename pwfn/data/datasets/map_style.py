"""Read a set that timm or torchvision opened image by image; nothing damaged is passed over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from pwfn.data.files import file_check
from pwfn.data.files.decoding import decoded, eight_bit, readable, turned
from pwfn.data.images import DataError, ImageSet, Indices

if TYPE_CHECKING:
    from PIL.Image import Image


class MapStyle(ImageSet):
    """Read images number `indices` of a `timm.data.ImageDataset` or a torchvision set.

    Args:
        dataset: the set, without a transform.
        title: leads messages.
        labels: of these images, int64 [n].
        indices: of these images in the set, int64 [n].
        exif: turn images as their EXIF orientation says.
    """

    def __init__(self, dataset: Any, title: str, labels: Indices, indices: Indices, *, exif: bool = False) -> None:
        self.dataset, self.title, self.labels, self.indices, self.exif = dataset, title, labels, indices, exif

    @classmethod
    def of(cls, dataset: Any, title: str, num_classes: int, *, exif: bool = False) -> Self:
        """Take all images of a set.

        Args:
            dataset: the set.
            title: leads messages.
            num_classes: labels are 0 to below this.
            exif: turn images as their EXIF orientation says.

        Returns:
            The images, at least one.

        Raises:
            DataError: a label is no class, or there is no image.
        """
        labels = np.asarray(_labels(dataset))
        if labels.ndim != 1 or labels.dtype.kind not in "iu":
            raise DataError(f"{title}: its labels are no whole numbers; data.target_key names those of hfds/")
        if not len(labels):
            raise DataError(f"{title}: has no images")
        for label in (labels.min(), labels.max()):
            if not 0 <= label < num_classes:
                allowed = f"data.num_classes = {num_classes} allows 0 to {num_classes - 1}"
                raise DataError(f"{title}: has the label {label}, {allowed}")
        return cls(dataset, title, labels.astype(np.int64), np.arange(len(labels)), exif=exif)

    @property
    def class_to_idx(self) -> dict[str, int]:
        """Return the number of each class by its name; empty where the set has no names."""
        found: dict[str, int] | None = None
        for source in (self.dataset, getattr(self.dataset, "reader", None)):
            found = found or getattr(source, "class_to_idx", None) or getattr(source, "class_name_to_idx", None)
        return dict(found or {})

    def __getitem__(self, index: int) -> tuple[Image, int]:
        """Raise `DataError` naming the image if it cannot be decoded."""
        at = int(self.indices[index])
        return self._image(at), int(self.labels[index])

    def _image(self, at: int) -> Image:
        reader = getattr(self.dataset, "reader", None)
        name = f"{self.title}[{at}]"
        if (samples := self._samples) is not None:  # (path, label), or inside of a tar file (TarInfo, ...)
            name = str(getattr(samples[at][0], "name", samples[at][0]))
        with readable(name):
            if reader is not None:
                with reader[at][0] as file:
                    return decoded(file, name, exif=self.exif)
            if samples is not None:
                return decoded(name, name, exif=self.exif)
            image = self.dataset[at][0]
            return turned(eight_bit(image, name), image) if self.exif else eight_bit(image, name)

    @property
    def _samples(self) -> Any:
        return getattr(getattr(self.dataset, "reader", None) or self.dataset, "samples", None)

    @property
    def paths(self) -> list[str]:
        """List the files of the images; raise `DataError` where they are not files of their own."""
        samples = self._samples
        if samples is None or not all(isinstance(samples[at][0], str) for at in self.indices):
            raise DataError(f"{self.title}: data.check must be false: its images are in a tar file")
        return [samples[at][0] for at in self.indices]

    def readable(self, *, headers_only: bool) -> tuple[Self, int]:
        """Return the readable images and the number of the others; raise `DataError` for an empty class."""
        found = file_check.look_at(self.paths, headers_only=headers_only)
        kept = np.flatnonzero([found[path].fault is None for path in self.paths])
        if len(gone := np.setdiff1d(self.labels, self.labels[kept])):
            raise DataError(f"{self.title}: no image of class {gone[0]} (counted from 0) can be read")
        return self.pick(kept), len(self) - len(kept)

    @override
    def pick(self, indices: Indices) -> Self:
        return type(self)(self.dataset, self.title, self.labels[indices], self.indices[indices], exif=self.exif)


def _labels(dataset: Any) -> NDArray[Any] | list[Any]:
    """List the labels of all images, in order, without reading any image."""
    reader = getattr(dataset, "reader", None)
    if reader is None:
        if type(dataset).__name__ == "INaturalist":
            return [label for label, _ in dataset.index]
        targets = np.asarray(dataset.targets)
        return targets[:, 0] if type(dataset).__name__ == "QMNIST" else targets  # the other columns: who wrote it
    if hasattr(reader, "targets"):
        return list(reader.targets)
    if hasattr(reader, "samples"):
        return [label for _, label in reader.samples]
    if reader.label_key in reader.dataset.column_names and not reader.target_keys:
        column: NDArray[Any] = reader.dataset.with_format("numpy")[reader.label_key][:]
        return column
    return list(reader.iter_targets())
