"""Split one folder of images into training, validation and test images, and keep which image is where."""

from __future__ import annotations

import csv
import io
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from pwfn.data.files.file_images import FileImages
from pwfn.data.images import DataError, Indices, stratified_split
from pwfn.errors import one_line

if TYPE_CHECKING:
    from pwfn.data.spec import ImageData

    Spec = TypeVar("Spec", bound=ImageData)

PARTS = ("train", "val", "test")
Three = tuple[Indices, Indices, Indices]
Split = tuple[float, float, float] | str


def by_fractions(labels: Indices, fractions: tuple[float, ...], seed: int) -> Three:
    """Choose training, validation and test images, each class in proportion.

    Args:
        labels: of all images, int64 [n].
        fractions: shares of the three, whose sum is 1.
        seed: of the choice.

    Returns:
        Indices of the three, each ascending; no image is in two of them.

    Raises:
        DataError: a class has fewer images than there are parts.
    """
    tested, rest = stratified_split(labels, round(fractions[2] * len(labels)), seed)
    held_out, trained = stratified_split(labels[rest], round(fractions[1] * len(labels)), seed)
    for part, chosen in (("training", rest[trained]), ("test", tested)):
        without = np.setdiff1d(labels, labels[chosen])
        if len(chosen) and len(without):  # a part without any image is refused as such
            raise DataError(
                f"data.split leaves class {without[0]} (counted from 0) without {part} images: it has "
                f"{np.count_nonzero(labels == without[0])} images"
            )
    return rest[trained], rest[held_out], tested


def by_file(images: FileImages, root: Path, file: Path) -> Three:
    """Take the split that a file lists; images that it does not list are in no split.

    Args:
        images: all that there are.
        root: the folder that the file's paths are relative to.
        file: a CSV file with the columns split and file.

    Returns:
        The numbers of training, validation and test images, int64, ascending.

    Raises:
        DataError: the file cannot be read, lists an image that is not below `root` or one twice, or has no training
            images of a class.
    """
    numbers = {_below(path, root): index for index, path in enumerate(images.paths)}
    chosen: dict[int, str] = {}
    for row in _rows(file):
        part, name = row["split"], row["file"]
        if part not in PARTS or name not in numbers:
            wrong = name if part in PARTS else part
            raise DataError(f"{file}: lists {wrong!r}, which is no split or no image below {root}")
        if numbers[name] in chosen:
            raise DataError(f"{file}: lists {name!r} twice, as {chosen[numbers[name]]} and as {part}")
        chosen[numbers[name]] = part
    train, val, test = (np.array(sorted(i for i, to in chosen.items() if to == part), dtype=np.int64) for part in PARTS)
    untrained = np.setdiff1d(images.labels, images.labels[train])
    if len(train) and len(untrained):  # without any training image it is refused as such
        raise DataError(f"{file}: lists no training images of class {untrained[0]} (counted from 0)")
    return train, val, test


def _rows(file: Path) -> list[dict[str, str]]:
    try:
        # with or without the mark that spreadsheets put in front
        with file.open(encoding="utf-8-sig", newline="", errors="surrogateescape") as lines:
            table = csv.DictReader(lines)
            if not {"split", "file"} <= set(table.fieldnames or ()):
                raise DataError(f"{file}: has no columns split and file, separated by commas, in its first line")
            return list(table)
    except (OSError, csv.Error) as error:
        raise DataError(f"{file}: cannot be read ({one_line(error)})") from error


def is_split(split: Split) -> bool:
    """Tell whether `data.split` is a file, or three shares of which the first and the last are above 0."""
    if isinstance(split, str):
        return Path(split).is_file()
    return min(split) >= 0 < min(split[0], split[2]) and abs(sum(split) - 1) < 1e-6


def why_no_validation(split: Split) -> str | None:
    """Say why a split has no validation images, and what to write; None where it has some.

    A file that cannot be read is no answer: `by_file` refuses it.
    """
    if not isinstance(split, str):
        return None if split[1] else f"data.split = {list(split)}: give the second share some, as [0.7,0.1,0.2]"
    try:
        has = any(row["split"] == "val" for row in _rows(Path(split)))
    except DataError:
        return None
    return None if has else f"data.split = {split!r}: list some images as val in it"


def table(parts: tuple[FileImages | None, ...], root: Path) -> str:
    """Return the split of every image as CSV with the columns `split` and `file` (below `root`)."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(("split", "file"))
    for part, images in zip(PARTS, parts, strict=True):
        rows.writerows((part, _below(path, root)) for path in (() if images is None else images.paths))
    return text.getvalue()


def with_kept_choices(data: Spec, split: Path, class_order: Path) -> Spec:
    """Let images be split, and classes be numbered, as files in a run's folder say, where it has them.

    So it is also where images have been added since, or where the file that the user gave is gone.

    Args:
        data: A set whose `split` and `class_order` are as the user gave them.
        split: The file that a run keeps of its split.
        class_order: The file that it keeps of the order of classes.

    Returns:
        The set with these files, or `data` where there are none.
    """
    given = {"split": split, "class_order": class_order}
    kept = {key: str(file) for key, file in given.items() if getattr(data, key, None) and file.is_file()}
    return replace(data, **kept) if kept else data  # type: ignore[arg-type]


def _below(path: bytes, root: Path) -> str:
    return os.path.relpath(os.fsdecode(path), root)
