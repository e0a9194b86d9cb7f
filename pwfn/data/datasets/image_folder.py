"""Images sorted into one folder per class, as ImageNet is."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pwfn.data.images import DataError, FileImages
from pwfn.data.spec import ImageData, Splits, is_integer

IMAGE_SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm"))
MISSING = "no such folder; data.root is a folder that holds train/<class>/ and val/<class>/"
TEST_FOLDERS = ("test", "val", "validation")


@dataclass(frozen=True, kw_only=True)
class ImageFolder(ImageData):
    """`root`/train/<class>/*.jpg and the same below `test_folder`; the classes are the sorted folder names.

    `test_folder` None means the one of test, val and validation that exists. Files of other kinds and names that begin
    with a dot are passed over.
    """

    channels: int = 3
    root: str = "data"
    test_folder: str | None = None

    def rules(self) -> dict[str, tuple[bool, str]]:
        return {
            "channels": (self.channels in (1, 3), "1 or 3"),
            "root": (isinstance(self.root, str), "a folder"),
        }

    @property
    def num_classes(self) -> int:
        """Count the class folders; raise `DataError` if there are none."""
        return len(self.class_names)

    @property
    def class_names(self) -> tuple[str, ...]:
        return _class_names(Path(self.root) / "train")

    def check(self) -> None:
        self._same_classes(Path(self.root) / "train", self._test_folder())

    def load(self) -> Splits:
        train, test = Path(self.root) / "train", self._test_folder()
        self._same_classes(train, test)
        return Splits(_images(train), _images(test))

    def _same_classes(self, train: Path, test: Path) -> None:
        names, tested = set(_class_names(train)), set(_class_names(test))
        if names != tested:
            only = [
                f"{folder.name} has {_few(more)}"
                for folder, more in ((train, names - tested), (test, tested - names))
                if more
            ]
            raise DataError(
                f"{self.root}: {train.name} and {test.name} differ in their classes: only {', only '.join(only)}"
            )

    def _test_folder(self) -> Path:
        root = Path(self.root)
        if not root.is_dir():
            raise DataError(f"{root}: {MISSING}")
        if self.test_folder is not None:
            return root / self.test_folder
        found = [name for name in TEST_FOLDERS if (root / name).is_dir()]
        if not found:
            raise DataError(f"{root}: has none of the folders {', '.join(TEST_FOLDERS)} with test images")
        if len(found) > 1:
            raise DataError(f"{root}: has both {' and '.join(found)}; say which is tested on with data.test_folder=")
        return root / found[0]


@dataclass(frozen=True, kw_only=True)
class ImageNet(ImageFolder):
    """ImageNet-1k (ILSVRC 2012), or another set of that layout whose number of classes is known beforehand."""

    num_classes: int = 1000

    def rules(self) -> dict[str, tuple[bool, str]]:
        return super().rules() | {"num_classes": (is_integer(self.num_classes, 2), "an integer from 2")}

    def _same_classes(self, train: Path, test: Path) -> None:
        found = len(_class_names(train))
        if found != self.num_classes:
            raise DataError(
                f"{train}: has {found} class folders, data.num_classes is {self.num_classes};"
                " for a folder of your own images: data=image_folder"
            )
        super()._same_classes(train, test)


def _class_names(folder: Path) -> tuple[str, ...]:
    if not folder.is_dir():
        raise DataError(f"{folder}: {MISSING}")
    with os.scandir(folder) as entries:
        visible = [entry for entry in entries if not entry.name.startswith(".")]
    names = tuple(sorted(entry.name for entry in visible if entry.is_dir()))
    if not names:
        unsorted = f", only {len(visible)} files: move each into a folder named after its class" if visible else ""
        raise DataError(f"{folder}: has no class folders{unsorted}")
    return names


def _images(folder: Path) -> FileImages:
    paths: list[str] = []
    labels: list[int] = []
    for label, name in enumerate(_class_names(folder)):
        found = [
            os.path.join(where, file)
            for where, _, files in os.walk(folder / name)
            for file in files
            if os.path.splitext(file)[1].lower() in IMAGE_SUFFIXES and file[0] != "."
        ]
        if not found:
            raise DataError(f"{folder / name}: has no images ({' '.join(sorted(IMAGE_SUFFIXES))})")
        paths += sorted(found)
        labels += [label] * len(found)
    return FileImages(paths, np.asarray(labels))


def _few(names: set[str]) -> str:
    shown = sorted(names)[:3]
    return ", ".join(shown) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
