"""Read MNIST's IDX format: a magic number, the sizes (big-endian uint32), then one byte per value."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pwfn.data.images import ArrayImages, DataError

# The last byte of the magic number is how many sizes follow; the byte before it says uint8.
IMAGES_MAGIC = 0x0803
LABELS_MAGIC = 0x0801


def find_file(folder: Path, name: str) -> Path | None:
    """Find `name` or `name.gz` in `folder`."""
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


def read_images(folder: Path, prefix: str, num_classes: int) -> ArrayImages:
    """Read the images and labels of one split.

    Args:
        folder: of the four files.
        prefix: `train` or `t10k`.
        num_classes: labels are 0 to below this.

    Returns:
        The images, in memory.

    Raises:
        DataError: naming the file that is missing or damaged.
    """
    images_path, pixels = _read(folder, f"{prefix}-images-idx3-ubyte", IMAGES_MAGIC)
    labels_path, labels = _read(folder, f"{prefix}-labels-idx1-ubyte", LABELS_MAGIC)
    if len(pixels) != len(labels):
        raise DataError(f"{labels_path}: has {len(labels)} labels for the {len(pixels)} images of {images_path.name}")
    if labels.max() >= num_classes:
        raise DataError(f"{labels_path}: has the label {labels.max()}, the last class is {num_classes - 1}")
    return ArrayImages(pixels, labels)


def _read(folder: Path, name: str, magic: int) -> tuple[Path, NDArray[Any]]:
    path = find_file(folder, name)
    if path is None:
        raise DataError(f"{folder / name}: missing (nor is there a {name}.gz)")
    content = _content(path)
    dimensions = magic & 0xFF
    start = 4 * (1 + dimensions)
    if len(content) < start:
        raise DataError(f"{path}: has {len(content)} bytes, too few for an IDX header")
    found, *shape = struct.unpack_from(f">{1 + dimensions}I", content)
    if found != magic:
        raise DataError(f"{path}: not the IDX file it should be (begins with {found:#010x}, not {magic:#010x})")
    values = math.prod(shape)
    if len(content) != start + values or values == 0:
        sizes = " x ".join(map(str, shape))
        raise DataError(f"{path}: has {len(content)} bytes, its header ({sizes} values) asks for {start + values}")
    return path, np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape)


def _content(path: Path) -> bytes:
    try:
        return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:  # gzip raises all three on damaged files
        raise DataError(f"{path}: cannot be read ({error})") from error
