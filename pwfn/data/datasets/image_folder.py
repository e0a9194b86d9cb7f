"""Read images sorted into one folder per class, as ImageNet is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from typing_extensions import override

from pwfn.data.files import file_check, folder_split, folders
from pwfn.data.files.file_images import FileImages
from pwfn.data.files.folder_notes import FolderNotes, order_remark
from pwfn.data.files.folders import LAYOUT, NATURAL, SORTED
from pwfn.data.images import DataError, ImageSet
from pwfn.data.spec import ImageData, Partition, Splits
from pwfn.errors import require
from pwfn.value_kinds import FilePath, FreeText, NameOrPath

MISSING = f"no such folder; {LAYOUT}"
TEST_FOLDERS = ("test", "val", "validation")


@dataclass(frozen=True, kw_only=True)
class ImageFolder(ImageData):
    """Read `root`/train/<class>/<image> and the same below `test_folder`; folders name the classes.

    Attributes:
        channels: color channels of the network's input.
        root: holds the folders of the splits; with `split`, the class folders themselves.
        test_folder: None means the one of test, val and validation that exists.
        split: shares of training, validation and test images of one folder, or a `split.csv` that lists them.
        class_order: `natural` (timm's), `sorted` (torchvision's), or a text file with a class name in each line.
        exif: turn images as their EXIF orientation says.
        check: whether every image is looked at before anything trains; `skip` leaves out those that cannot be read.
    """

    channels: int = 3
    root: FilePath = "data"
    test_folder: FreeText | None = None
    split: tuple[float, float, float] | FilePath | None = None
    class_order: NameOrPath = NATURAL
    exif: bool = False
    check: bool | Literal["skip"] = False
    headers_only: ClassVar[bool] = False  # whether `check` reads the beginning of each file alone

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self, val_fraction=(self.split is None or not self.val_fraction, "0 or null where data.split is given"))

    @override
    def rules(self) -> dict[str, tuple[bool, str]]:
        order = self.class_order in (NATURAL, SORTED) or Path(self.class_order).is_file()
        whole = f"null where data.split is given, which chooses the test images of {self.root}"
        return {
            "channels": (self.channels in (1, 3), "1 or 3"),
            "root": (isinstance(self.root, str), "a folder"),
            "class_order": (order, "natural, sorted, or a file with a class name in each line"),
            "split": (self.split is None or folder_split.is_split(self.split),
                      "three shares whose sum is 1, as [0.8, 0.1, 0.1], the first and the last "
                      "above 0, or a file split.csv"),
            "test_folder": (self.split is None or self.test_folder is None, whole),
        }  # fmt: skip

    @property
    def num_classes(self) -> int:
        """Count the class folders; raise `DataError` if there are none."""
        return len(self.class_names)

    @property
    @override
    def class_names(self) -> tuple[str, ...]:
        return folders.class_names(self._train_folder(), self.class_order)

    @property
    @override
    def test_class_names(self) -> tuple[str, ...]:
        return folders.class_names(self._test_folder(), self.class_order)

    @property
    @override
    def test_place(self) -> str:
        return "chosen by data.split" if self.split is not None else f"{self._test_folder().name}/"

    @property
    @override
    def why_no_validation(self) -> str | None:
        return super().why_no_validation if self.split is None else folder_split.why_no_validation(self.split)

    @override
    def check_layout(self) -> None:
        self._require_train()
        names = self.class_names
        folders.refuse_single_class(self._train_folder(), names)
        if self.split is not None:
            folders.refuse_splits_as_classes(self._train_folder(), names)
        else:
            self._same_classes(names)
            self._other_images()

    @override
    def check_files(self, cache: Path, progress: Callable[[int, int], None] = lambda done, count: None) -> None:
        if not self.check:
            return
        paths = [str(path, "utf-8", "surrogateescape") for images in self._all() for path in images.paths]
        found = file_check.refuse_unreadable(
            paths,
            self.root,
            skip=self.check == "skip",
            headers_only=self.headers_only,
            cache=cache,
            progress=progress,
        )
        self._notes.see(found)

    @override
    def load(self) -> Splits:
        self.check_layout()
        if self.split is None:
            return Splits(self._images(self._train_folder()), self._images(self._test_folder()))
        images = self._images(self._train_folder())
        train, val, test = self._parts(images)
        return Splits(images.pick(np.concatenate([train, val])), images.pick(test))

    @override
    def load_test(self) -> ImageSet:
        if self.split is None:
            return self._images(self._test_folder())
        images = self._images(self._train_folder())
        return images.pick(self._parts(images)[2])

    @override
    def partition(self) -> Partition:
        if self.split is None:
            return super().partition()
        self.check_layout()
        images = self._images(self._train_folder())
        train, val, test = map(images.pick, self._parts(images))
        for name, part in (("training", train), ("test", test)):
            if not len(part):
                raise DataError(f"data.split = {self.split}: leaves no {name} images of {len(images)}")
        return Partition(
            self._limit(train, "train_images"), val if len(val) else None, self._limit(test, "test_images")
        )

    @override
    def split_table(self, partition: Partition) -> str | None:
        if self.split is None:
            return None
        parts = tuple(part if isinstance(part, FileImages) else None for part in partition)
        return folder_split.table(parts, Path(self.root))

    @override
    def order_list(self) -> str | None:
        return None if self.class_order in (NATURAL, SORTED) else "\n".join((*self.class_names, ""))

    def remarks(self) -> list[str]:
        """Return what was passed over at the last `load`, and how else the images or classes might be read."""
        return [*self._notes.lines(exif=self.exif), *order_remark(self._train_folder(), self.class_order)]

    @cached_property
    def _notes(self) -> FolderNotes:
        return FolderNotes()

    def _all(self) -> list[FileImages]:
        places = [self._train_folder()] if self.split is not None else [self._train_folder(), self._test_folder()]
        return [self._images(place, skip=False) for place in places]

    def _parts(self, images: FileImages) -> folder_split.Three:
        assert self.split is not None
        if isinstance(self.split, str):
            return folder_split.by_file(images, Path(self.root), Path(self.split))
        return folder_split.by_fractions(images.labels, self.split, self.split_seed)

    def _images(self, folder: Path, *, skip: bool = True) -> FileImages:
        """List the images of a split; those that cannot be read are left out if `check` says so."""
        names = folders.class_names(folder, self.class_order)
        paths, labels = self._notes.listed(folder, names)
        if self.check == "skip" and skip:
            found = file_check.look_at(paths, headers_only=self.headers_only)
            kept = [index for index, path in enumerate(paths) if found[path].fault is None]
            self._notes.left_out[str(folder)] = len(paths) - len(kept)
            paths, labels = [paths[index] for index in kept], [labels[index] for index in kept]
            if gone := sorted({names[label] for label in set(range(len(names))) - set(labels)}):
                raise DataError(f"{folder}: no image of {folders.few(gone)} can be read")
        return FileImages(paths, np.asarray(labels, dtype=np.int64), exif=self.exif)

    def _train_folder(self) -> Path:
        """Return the folder of the training classes, or of the test images where only those are there."""
        root = Path(self.root)
        if self.split is not None:
            return root
        only_tested = not (root / "train").is_dir() and any((root / name).is_dir() for name in self._test_names)
        return self._test_folder() if only_tested else root / "train"

    def _require_train(self) -> None:
        """Raise `DataError`, with what may have been meant, if there are no training images."""
        root = Path(self.root)
        if self.split is not None or (root / "train").is_dir():
            return
        if not root.is_dir():
            raise DataError(f"{root}: {MISSING}")
        raise DataError(f"{root / 'train'}: {MISSING}; {folders.meant_without_train(root)}")

    def _other_images(self) -> None:
        train, test = self._train_folder(), self._test_folder()
        if train.samefile(test):
            raise DataError(f"{test}: is the folder of the training images, {train}: test images are never trained on")

    @property
    def _test_names(self) -> tuple[str, ...]:
        return TEST_FOLDERS if self.test_folder is None else (self.test_folder,)

    def _same_classes(self, names: tuple[str, ...]) -> None:
        train, test = self._train_folder(), self._test_folder()
        trained, tested = set(names), set(self.test_class_names)
        if trained == tested:
            return
        told = folders.annotation_file(test)
        if not trained & tested and told is not None:
            raise DataError(
                f"{test}: has the folder {folders.few(sorted(tested))} and {told}, which is not read: move each image "
                f"into a folder named after its class, as {test / min(trained)}"
            )
        only = [
            f"{folder.name} has {folders.few(sorted(more))}"
            for folder, more in ((train, trained - tested), (test, tested - trained))
            if more
        ]
        raise DataError(
            f"{self.root}: {train.name} and {test.name} differ in their classes: only {', only '.join(only)}"
        )

    def _test_folder(self) -> Path:
        root = Path(self.root)
        if self.split is not None:
            return root
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
