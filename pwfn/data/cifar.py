"""CIFAR-10: 50,000 and 10,000 colour photographs of 32 x 32 pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from pwfn.data.images import ArrayImages, DataError
from pwfn.data.spec import ImageData, Splits


@dataclass(frozen=True, kw_only=True)
class CIFAR10(ImageData):
    """Read by torchvision from `root`/cifar-10-batches-py.

    These files are pickles, and unpickling runs whatever code they hold. torchvision compares each file's MD5 with
    the published one first and refuses any other, so only the original files are ever unpickled.
    """

    channels: ClassVar[int] = 3
    num_classes: ClassVar[int] = 10
    class_names: ClassVar[tuple[str, ...]] = (
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    )

    root: str = "data"
    download: bool = False

    def rules(self) -> dict[str, tuple[bool, str]]:
        return {
            "root": (isinstance(self.root, str), "a folder"),
            "download": (isinstance(self.download, bool), "true or false"),
        }

    def prepare(self) -> None:
        if self.download:
            self._read(train=True, download=True)

    def load(self) -> Splits:
        return Splits(self._read(train=True, download=False), self._read(train=False, download=False))

    def _read(self, train: bool, download: bool) -> ArrayImages:
        import torchvision.datasets

        try:
            images = torchvision.datasets.CIFAR10(self.root, train=train, download=download)
        except (OSError, RuntimeError) as error:  # missing files and wrong checksums; no network, no room
            reason = " ".join(str(error).split("You can use")[0].split())
            raise DataError(
                f"CIFAR10: no intact cifar-10-batches-py in {self.root} ({reason}); get the images with"
                " data.download=true (torchvision) or data.root=<folder that holds cifar-10-batches-py>"
            ) from error
        return ArrayImages(images.data, np.asarray(images.targets))
