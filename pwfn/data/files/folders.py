"""Find the classes of a folder, their order, and the images below each of them."""

from __future__ import annotations

import os
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from pwfn.data.images import DataError
from pwfn.errors import one_line

NATURAL, SORTED = "natural", "sorted"
# Folders that systems and programs put beside images; those whose names begin with a dot are passed over as well.
SERVICE = frozenset(("@eaDir", "__MACOSX", "lost+found", "$RECYCLE.BIN", "System Volume Information"))
ANNOTATIONS = (".txt", ".csv", ".tsv", ".json", ".xml", ".mat")
SPLITS = frozenset(("train", "training", "test", "testing", "val", "valid", "validation"))  # in lower case
LAYOUT = "data.root is a folder that holds train/<class>/ and val/<class>/"


def natural_key(name: str) -> tuple[list[str | int], str]:
    """Return timm's key for class names (numbers by value, letters without case), ties by the name."""
    return [int(part) if index % 2 else part for index, part in enumerate(re.split(r"(\d+)", name.lower()))], name


def class_names(folder: Path, order: str = NATURAL) -> tuple[str, ...]:
    """List the class folders in `folder` in the order of their numbers.

    Args:
        folder: holds one folder for each class.
        order: `natural` (timm's), `sorted` (torchvision's), or a text file with a class name in each line.

    Raises:
        DataError: there is no such folder, it has no class folders, or the file lists other classes.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; {LAYOUT}")
    names = subfolders(folder)
    if not names:
        raise DataError(f"{folder}: has no class folders{_loose_files(folder)}")
    if bad := [name for name in names if not _is_utf8(name)]:
        raise DataError(f"{folder}: the folder name {os.fsencode(bad[0])!r} is not UTF-8; rename it")
    if order == NATURAL:
        return tuple(sorted(names, key=natural_key))
    return tuple(sorted(names)) if order == SORTED else _listed(Path(order), folder, names)


def subfolders(folder: Path) -> list[str]:
    """List the folders in a folder, without hidden and service folders, in no particular order.

    Raises:
        DataError: it cannot be read.
    """
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in entries if not passed_over(entry.name) and entry.is_dir()]
    except OSError as error:
        raise DataError(f"{folder}: cannot be read ({error.strerror})") from error


def passed_over(name: str) -> bool:
    """Tell whether a file or folder is hidden, or of a program that keeps things of its own beside images."""
    return name.startswith(".") or name in SERVICE


@dataclass(frozen=True)
class Listing:
    """Hold the images below a folder, sorted by path, and how many other files of each ending there are."""

    images: list[str]
    others: Counter[str]


def list_images(folder: Path, endings: frozenset[str]) -> Listing:
    """Find every image below `folder`, also behind links.

    Args:
        folder: of one class.
        endings: of image files, lower case with the dot.

    Raises:
        DataError: a folder cannot be read.
    """
    images: list[str] = []
    others: Counter[str] = Counter()
    top = Path(os.path.realpath(folder))
    above: dict[str, frozenset[str]] = {str(folder): frozenset(map(str, (top, *top.parents)))}
    for where, folders, files in os.walk(folder, followlinks=True, onerror=_unreadable):
        seen = above.pop(where)
        folders[:] = sorted(name for name in folders if not passed_over(name))
        inner = {name: os.path.realpath(os.path.join(where, name)) for name in folders}
        folders[:] = [name for name in folders if inner[name] not in seen]  # a link to a folder above would never end
        above |= {os.path.join(where, name): seen | {inner[name]} for name in folders}
        for file in files:
            ending = os.path.splitext(file)[1].lower()
            if ending in endings and not passed_over(file):
                images.append(os.path.join(where, file))
            elif not passed_over(file):
                others[ending or "no ending"] += 1
    return Listing(sorted(images), others)


def images_beside(folder: Path, endings: frozenset[str]) -> int:
    """Count the images that lie beside the class folders, in none of them."""
    with os.scandir(folder) as entries:
        return sum(
            entry.is_file() and not passed_over(entry.name) and os.path.splitext(entry.name)[1].lower() in endings
            for entry in entries
        )


def refuse_single_class(folder: Path, names: tuple[str, ...]) -> None:
    """Raise `DataError` if there is one class only: often the classes lie one folder deeper."""
    if len(names) > 1:
        return
    below = sorted(subfolders(folder / names[0]), key=natural_key)
    inside = f"; it holds {few(below)}: if these are the classes, move them to {folder}" if below else ""
    raise DataError(f"{folder}: has one class folder only, {names[0]}{inside}")


def refuse_splits_as_classes(folder: Path, names: tuple[str, ...]) -> None:
    """Raise `DataError` if the class folders of a folder that is to be split are splits already."""
    if all(name.lower() in SPLITS for name in names):
        raise DataError(
            f"{folder}: {few(list(names))} are splits, not classes: leave out data.split, which takes {folder}/train "
            f"and {folder}/val, or name the folder to be split, as data.root={folder / names[0]}"
        )


def meant_without_train(root: Path) -> str:
    """Say what a folder without train/ may be instead, and what to do about it."""
    if (root.parent / "train").is_dir():
        return f"did you mean data.root={root.parent}?"
    names = sorted(subfolders(root))
    if not names:
        return "images without a folder for each class: pwfn.compress, in Python, takes them"
    if all(name.lower() in SPLITS for name in names):
        return f"rename {few(names)}: the folders are called train and val (or test)"
    return "if these are the classes, data.split=[0.8,0.1,0.1] splits their images"


def few(names: list[str]) -> str:
    """List the first three names, and how many more there are."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def annotation_file(folder: Path) -> str | None:
    """Return the name of a file in a folder that may say the class of each image."""
    files = sorted(path.name for path in folder.iterdir() if path.is_file() and path.suffix.lower() in ANNOTATIONS)
    return files[0] if files else None


def _listed(file: Path, folder: Path, names: list[str]) -> tuple[str, ...]:
    try:
        lines = [line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"data.class_order = {str(file)!r}: cannot be read ({one_line(error)})") from error
    listed = tuple(line for line in lines if line)
    if twice := [name for name, count in Counter(listed).items() if count > 1]:
        raise DataError(f"{file}: lists {few(twice)} more than once")
    for only, what in (
        (set(names) - set(listed), f"does not list the class folder of {folder}"),
        (set(listed) - set(names), f"lists a class without a folder in {folder}"),
    ):
        if only:
            raise DataError(f"{file}: {what}: {few(sorted(only))}")
    return listed


def _loose_files(folder: Path) -> str:
    visible = [path for path in folder.iterdir() if not passed_over(path.name)]
    if not visible:
        return ""
    told = annotation_file(folder)
    where = f" ({told} may say which class; it is not read)" if told else ""
    return f", only {len(visible)} files: move each image into a folder named after its class{where}"


def _unreadable(error: OSError) -> None:
    raise DataError(f"{error.filename}: cannot be read ({error.strerror})") from error


def _is_utf8(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
