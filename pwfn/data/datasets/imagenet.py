"""Read ImageNet, unpacked into one folder per class."""

from __future__ import annotations

from dataclasses import dataclass

from typing_extensions import override

from pwfn.data.datasets.image_folder import ImageFolder
from pwfn.data.images import DataError
from pwfn.data.spec import is_integer


@dataclass(frozen=True, kw_only=True)
class ImageNet(ImageFolder):
    """Read ImageNet-1k (ILSVRC 2012), or a set of that layout with a known number of classes."""

    num_classes: int = 1000
    headers_only = True  # decoding all of ImageNet takes as long as an epoch

    @override
    def rules(self) -> dict[str, tuple[bool, str]]:
        return super().rules() | {"num_classes": (is_integer(self.num_classes, 2), "an integer from 2")}

    def _same_classes(self, names: tuple[str, ...]) -> None:
        if len(names) != self.num_classes:
            raise DataError(
                f"{self._train_folder()}: has {len(names)} class folders, data.num_classes is {self.num_classes};"
                " for a folder of your own images: data=image_folder"
            )
        super()._same_classes(names)
