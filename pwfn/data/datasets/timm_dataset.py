"""Open data sets by timm's names: torchvision's, Hugging Face's, shards, folders and tar files."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from typing_extensions import override

from pwfn.data.datasets import timm_kinds
from pwfn.data.datasets.map_style import MapStyle
from pwfn.data.datasets.opened import Opened, check_keys, in_order
from pwfn.data.datasets.timm_kinds import KINDS, SHARDS, STREAMED, TORCH_SETS, errors_of, file_rules
from pwfn.data.datasets.timm_streams import opened_stream
from pwfn.data.files import file_check
from pwfn.data.files.folder_notes import FolderNotes
from pwfn.data.images import DataError, ImageSet
from pwfn.data.spec import ImageData, Splits, is_integer
from pwfn.data.streams import ImageStream
from pwfn.errors import one_line, require
from pwfn.hub import answering_at_once
from pwfn.value_kinds import FilePath


@dataclass(frozen=True, kw_only=True)
class TimmData(ImageData):
    """Open two splits of `timm.data.create_dataset(name, root, split)`; docs/data.md has the sets.

    hfids/ and wds/ are streamed (`pwfn.data.streams`): no single image of theirs can be chosen, so there are no
    subsets and no validation images, and the number of training images has to be known.
    """

    name: str
    num_classes: int = 1000
    root: FilePath | None = None
    train_split: str = "train"
    test_split: str = "validation"
    channels: int = 3
    input_key: str | None = None
    target_key: str | None = None
    train_length: int | None = None
    shuffle_buffer: int = 1000
    download: bool = False
    exif: bool = False
    check: bool | Literal["skip"] = False

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """List the names that the training split knows its classes by; None where it knows none."""
        return self._names(self.train_split)

    @property
    @override
    def test_class_names(self) -> tuple[str, ...] | None:
        return self._names(self.test_split)

    @property
    @override
    def test_place(self) -> str:
        return self.test_split

    @cached_property
    def _names_of_splits(self) -> dict[str, tuple[str, ...] | None]:
        return {}  # of the splits opened so far, because opening a set takes long

    def _names(self, split: str) -> tuple[str, ...] | None:
        if split not in self._names_of_splits:
            self._open(split)
        return self._names_of_splits[split]

    @property
    def kind(self) -> str:
        """Return the beginning of `name`, a key of `KINDS`."""
        return self.name.partition("/")[0].lower()

    @property
    def rest(self) -> str:
        """Return the set: what follows the kind in `name`."""
        return self.name.partition("/")[2]

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kind in STREAMED:
            require(self, **timm_kinds.choice_rules(self.kind, self.val_fraction, self.train_images, self.test_images))

    @override
    def rules(self) -> dict[str, tuple[bool, str]]:
        kind, keys = self.kind, self.kind in ("hfds", "hfids", "wds")
        named = kind in KINDS and bool(self.rest) == (kind != "folder")
        known = named and (kind != "torch" or self.rest.lower() in TORCH_SETS)
        rooted = kind not in ("folder", "torch", "wds")
        root = rooted if self.root is None else not self.root.lower().startswith("pipe:")
        length = self.train_length is None or (kind in STREAMED and is_integer(self.train_length, 1))
        no_key = "null: only hfds/, hfids/ and wds/ have keys"
        return {
            "name": (
                known,
                f"folder, hfds/<set>, hfids/<set>, wds/<word>, or torch/ and one of {', '.join(TORCH_SETS)}",
            ),
            "num_classes": (is_integer(self.num_classes, 2), "an integer from 2"),
            "root": (root, f"a folder{' or null' if rooted else ''}, and no command (pipe:)"),
            "test_split": (self.test_split != self.train_split, "another split than data.train_split"),
            "channels": (self.channels in (1, 3), "1 or 3"),
            "input_key": (keys or self.input_key is None, no_key),
            "target_key": (keys or self.target_key is None, no_key),
            "train_length": (length, "null, or for a streamed set an integer from 1"),
            "shuffle_buffer": (is_integer(self.shuffle_buffer, 1), "an integer from 1"),
            "download": (
                not self.download or kind == "torch",
                "false: only torch/ asks (hfds/ always fetches what its cache lacks, hfids/ and wds/ never keep)",
            ),
            **file_rules(self.name, kind, self.rest.lower(), exif=self.exif, check=self.check),
        }

    @property
    @override
    def why_no_validation(self) -> str | None:
        return timm_kinds.no_choice(self.name) if self.kind in STREAMED else super().why_no_validation

    @override
    def check_layout(self) -> None:
        self._require_package()
        if self.kind == "folder" or self.rest.lower() == "image_folder":
            for split in (self.train_split, self.test_split):
                self._place(split)

    @override
    def check_files(self, cache: Path, progress: Callable[[int, int], None] = lambda done, count: None) -> None:
        if not self.check:
            return
        splits = [self._open(split).images for split in (self.train_split, self.test_split)]
        paths = [path for images in splits if isinstance(images, MapStyle) for path in images.paths]
        skip, headers_only = self.check == "skip", self._headers_only
        self._notes.see(
            file_check.refuse_unreadable(
                paths, self.root, skip=skip, headers_only=headers_only, cache=cache, progress=progress
            )
        )

    def remarks(self) -> list[str]:
        """Return what was left out at the last `load`, and how else the images might be read."""
        return self._notes.lines(exif=self.exif)

    @cached_property
    def _notes(self) -> FolderNotes:
        return FolderNotes()

    @property
    def _headers_only(self) -> bool:
        return self.rest.lower() == "imagenet"  # too many to decode each

    def _require_package(self) -> None:
        package, install = KINDS[self.kind]
        if package and importlib.util.find_spec(package) is None:
            raise DataError(
                f"data.name = {self.name!r}: needs the package {package}, which is not installed: {install}"
            )

    @override
    def prepare(self) -> None:
        if self.download or self.kind == "hfds":
            for split in (self.train_split, self.test_split):
                self._open(split, download=self.download)

    @override
    def load(self) -> Splits:
        self.check_layout()
        train, test = self._open(self.train_split), self._open(self.test_split)
        known = [one for one in (train.class_to_idx, test.class_to_idx) if one]
        for one in known:
            if len(one) != self.num_classes:
                raise DataError(f"{self.name}: has {len(one)} classes, data.num_classes is {self.num_classes}")
        if len(known) == 2 and known[0] != known[1]:
            raise DataError(f"{self.name}: {self.train_split} and {self.test_split} differ in their classes")
        return Splits(self._readable(train.images), self._readable(test.images))

    @override
    def load_test(self) -> ImageSet | ImageStream:
        self._require_package()
        return self._readable(self._open(self.test_split).images)

    def _readable(self, images: MapStyle | ImageStream) -> ImageSet | ImageStream:
        """Leave out what cannot be read, if `check` says so."""
        if self.check != "skip" or not isinstance(images, MapStyle):
            return images
        kept, self._notes.left_out[images.title] = images.readable(headers_only=self._headers_only)
        return kept

    def _open(self, split: str, download: bool = False) -> Opened:
        """Open a split by timm; any error of the libraries becomes a DataError of one line."""
        from timm.data import create_dataset

        logging.getLogger("timm.data.readers.reader_wds").setLevel(logging.ERROR)  # warns of a file nobody needs
        title = f"{self.name} {split}"
        on_hub = self.kind in ("hfds", "hfids") and not Path(self.rest).exists()
        with answering_at_once(asked=on_hub) as unreachable:
            try:
                dataset = create_dataset(self.name, **self._options(split, download))
                opened = self._opened(dataset, title, split)
                self._names_of_splits[split] = in_order(opened.class_to_idx)
                return opened
            except DataError:
                raise
            except errors_of(self.kind) as error:
                if unreachable and isinstance(error, OSError):
                    raise DataError(f"{title}: not on this machine, and {unreachable}") from error
                reason = one_line(error).replace("download=True", "data.download=true")
                hint = SHARDS if self.kind == "wds" else ""
                raise DataError(f"{title}: cannot be opened ({reason or type(error).__name__}){hint}") from error

    def _options(self, split: str, download: bool) -> dict[str, Any]:
        options: dict[str, Any] = {"root": self.root, "split": split, "download": download, "search_split": False}
        if self.kind == "folder" or self.rest.lower() == "image_folder":
            options["root"] = str(self._place(split))
            # a tar file that this process has opened must not be read by its workers too: they would share its position
            return options | ({"cache_tarfiles": False} if options["root"].endswith(".tar") else {})
        if self.kind == "hfids":
            options["num_samples"] = 1  # timm wants a number; it is only used by timm's own loop
        return options | {"input_key": self.input_key, "target_key": self.target_key}

    def _place(self, split: str) -> Path:
        """Find the images of a split. timm would take the whole of `root` instead of a folder that is missing."""
        assert self.root is not None
        folder, tar = Path(self.root) / split, Path(self.root) / f"{split}.tar"
        if folder.is_dir():
            return folder
        if tar.is_file() and self.kind == "folder":
            return tar
        either = f" or {tar.name}" if self.kind == "folder" else ""
        raise DataError(
            f"{folder}: no such folder{either}; it should hold <class>/<image> (data.root, data.train_split)"
        )

    def _opened(self, dataset: Any, title: str, split: str) -> Opened:
        if self.kind in STREAMED:
            return opened_stream(self, dataset.reader, title, split)
        if self.kind == "hfds":
            reader, first = dataset.reader, dataset.reader.dataset[0]
            # timm adds an empty column for a key that is not there
            columns = [name for name, value in first.items() if value is not None]
            check_keys(title, columns, reader.image_key, reader.label_key)
        images = MapStyle.of(dataset, title, self.num_classes, exif=self.exif)
        return Opened(images, images.class_to_idx)
