"""Remember what reading a folder of images passed over, and say how else it might have been read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pwfn.data.files import folders
from pwfn.data.files.decoding import image_endings
from pwfn.data.files.folders import NATURAL, SORTED
from pwfn.data.images import DataError

if TYPE_CHECKING:
    from pwfn.data.files.file_check import Found

DARK = 32  # of 255: images of more than 8 bits of which none is brighter were stored for another range


@dataclass
class FolderNotes:
    """Count by folder files of other endings and images left out, and images of special kinds."""

    others: dict[str, Counter[str]] = field(default_factory=dict)
    beside: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)
    alpha: int = 0
    turned: int = 0
    brightest: tuple[int, ...] = ()  # levels of 255, of each image of more than 8 bits

    def listed(self, folder: Path, names: tuple[str, ...]) -> tuple[list[str], list[int]]:
        """List the images of every class and their labels; raise `DataError` for a class without images."""
        endings = image_endings()
        paths: list[str] = []
        labels: list[int] = []
        others: Counter[str] = Counter()
        for label, name in enumerate(names):
            listing = folders.list_images(folder / name, endings)
            if not listing.images:
                raise DataError(f"{folder / name}: has no images (.jpg, .png and {len(endings) - 2} other endings)")
            paths += listing.images
            labels += [label] * len(listing.images)
            others += listing.others
        self.others[str(folder)] = others
        self.beside[str(folder)] = folders.images_beside(folder, endings)
        return paths, labels

    def see(self, found: Iterable[Found]) -> None:
        """Count images with transparency and turned ones; keep how bright those of more than 8 bits are."""
        looked_at = list(found)
        self.alpha, self.turned = sum(one.alpha for one in looked_at), sum(one.turned for one in looked_at)
        self.brightest = tuple(one.brightest for one in looked_at if one.brightest is not None)

    def lines(self, *, exif: bool) -> list[str]:
        """Return a line for everything that was passed over or may be meant otherwise."""
        lines = []
        for folder, others in self.others.items():
            counted = ", ".join(f"{count:,} {ending}" for ending, count in sorted(others.items()))
            lines += [f"{folder}: {counted} passed over: not the endings of images"] if others else []
        for folder, count in self.beside.items():
            lines += [f"{folder}: {count:,} images beside the class folders belong to no class: passed over"] * (
                count > 0
            )
        for folder, count in self.left_out.items():
            lines += [f"{folder}: {count} images cannot be read and are left out (data.check=skip)"] if count else []
        if self.brightest and max(self.brightest) < DARK:
            lines.append(
                f"{len(self.brightest):,} images have more than 8 bits and use less than an eighth of their range (as "
                "12 bits in 16 do): the network sees them nearly black; scale their levels to the whole range"
            )
        if self.alpha:
            lines.append(f"{self.alpha:,} images have transparency: it is dropped as by timm, the stored colors stay")
        if self.turned and not exif:
            lines.append(
                f"{self.turned:,} images are stored turned and stay so, as with timm; data.exif=true turns them"
            )
        return lines


def order_remark(folder: Path, order: str) -> list[str]:
    """Say how the classes are numbered, if timm and torchvision would not agree about it."""
    if order not in (NATURAL, SORTED):
        return []
    names = {each: folders.class_names(folder, each) for each in (NATURAL, SORTED)}
    if names[NATURAL] == names[SORTED]:
        return []
    other, whose = (SORTED, "torchvision") if order == NATURAL else (NATURAL, "timm")
    return [
        f"the classes are numbered {folders.few(list(names[order]))} (data.class_order={order}); a head trained "
        f"in {whose}'s order, {folders.few(list(names[other]))}, needs data.class_order={other}"
    ]
