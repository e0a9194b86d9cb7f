"""Hold a split that timm has opened, with the names of its classes and of its columns."""

from __future__ import annotations

from dataclasses import dataclass

from pwfn.data.datasets.map_style import MapStyle
from pwfn.data.images import DataError
from pwfn.data.streams import ImageStream


@dataclass(frozen=True)
class Opened:
    """Hold a split, and the number of each class by its name, as far as the set knows names."""

    images: MapStyle | ImageStream
    class_to_idx: dict[str, int]


def in_order(class_to_idx: dict[str, int]) -> tuple[str, ...] | None:
    """Return the names in the order of their numbers; None where not every number has one name."""
    numbers = sorted(class_to_idx, key=lambda name: class_to_idx[name])
    complete = numbers and [class_to_idx[name] for name in numbers] == list(range(len(numbers)))
    return tuple(map(str, numbers)) if complete else None


def check_keys(title: str, columns: list[str], image_key: str, label_key: str) -> None:
    """Look for the columns of images and labels.

    Args:
        title: leads the message.
        columns: of the set; empty where nobody knows.
        image_key: the column of images; may go on with / and a key within it.
        label_key: likewise.

    Raises:
        DataError: a column is not there.
    """
    for option, key in (("input_key", image_key), ("target_key", label_key)):
        if columns and key.split("/")[0] not in columns:
            raise DataError(f"{title}: has no column {key!r} (data.{option}), only {', '.join(columns)}")
