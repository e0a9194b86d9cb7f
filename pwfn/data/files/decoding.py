"""Decode image files to 8-bit gray or color, as timm's reader does where that keeps the levels."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

import numpy as np

from pwfn.data.images import DataError
from pwfn.errors import one_line

if TYPE_CHECKING:
    from PIL.Image import Image

# `Image.convert("RGB")`, which timm calls, clips these: of 65,536 levels 256 would stay, and white
SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N", "I")
DEEP = (*SIXTEEN_BITS, "F")  # gray levels of more than 8 bits
_BITS, _PHOTOMETRIC, _FORMAT = 258, 262, 339  # tags of TIFF
_WHITE_IS_ZERO, _SIGNED = 0, 2  # values of the last two
GRAY = ("1", "L", "LA", "La")
# Formats that Pillow recognizes by their first bytes but cannot decode, or only with a program of its own (EPS).
STUBS = frozenset(("BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"))


def decoded(file: str | IO[bytes], name: str, *, exif: bool = False) -> Image:
    """Decode the first picture of a file as 8-bit gray (`L`) or color (`RGB`).

    Args:
        file: a path, or an open binary file.
        name: what the message begins with where the file cannot be used.
        exif: turn the image as its EXIF orientation says; timm ignores it.

    Returns:
        The image. Transparency is dropped as timm drops it: the stored colors stay. 16-bit levels are scaled from
        0..65535 (of TIFF with fewer or signed bits from 0 to the largest), floating-point levels from 0..1, to 0..255.

    Raises:
        DataError: the file is damaged or no image, or has levels out of that range.
    """
    from PIL import Image

    with readable(name), Image.open(file) as image:
        return turned(eight_bit(image, name), image) if exif else eight_bit(image, name)


@contextmanager
def readable(name: str) -> Iterator[None]:
    """Turn Pillow's errors for damaged images into `DataError`s that begin with `name`; hide its warnings."""
    from PIL.Image import DecompressionBombError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of damaged EXIF data and of large images: once for each image and worker
            yield
    # SyntaxError and ValueError are how Pillow's PNG and TIFF readers report them, RuntimeError those of AVIF and BLP
    except (OSError, SyntaxError, ValueError, RuntimeError, DecompressionBombError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{name}: not a readable image ({one_line(error, None)})") from error


def eight_bit(image: Image, name: str) -> Image:
    """Convert an image of any mode to `L` or `RGB`; `name` leads the message.

    Raises:
        DataError: its levels or its mode cannot be converted.
    """
    image.load()
    if image.mode in SIXTEEN_BITS:
        white = _white(image)
        levels = f"{name}: has gray levels from {{0}} to {{1}} (mode {image.mode}), not 0 to {white}"
        return _scaled(image, white, levels)
    if image.mode == "F":
        return _scaled(image, 1.0, f"{name}: has floating-point levels from {{0:g}} to {{1:g}}, not 0 to 1")
    if image.mode == "P" and isinstance(image.info.get("transparency"), bytes):
        image = image.convert("RGBA")  # the same colors; without this step Pillow warns at every image
    try:
        return image.convert("L" if image.mode in GRAY else "RGB")
    except ValueError as error:
        raise DataError(f"{name}: its mode {image.mode} cannot be converted ({one_line(error, None)})") from error


def _tag(image: Image, tag: int) -> int | None:
    """Return the first value of a tag of a TIFF file; None where there is none."""
    value = getattr(image, "tag_v2", {}).get(tag)
    return value[0] if isinstance(value, tuple) else value


def _white(image: Image) -> int:
    bits = _tag(image, _BITS)  # Pillow reads 12 bits as 16, and leaves their levels
    if bits is None or bits > 16:
        return 65535
    return (1 << bits - (_tag(image, _FORMAT) == _SIGNED)) - 1


def _scaled(image: Image, white: float, complaint: str) -> Image:
    from PIL import Image

    levels = np.asarray(image)
    low, high = (levels.min(), levels.max()) if levels.size else (0, 0)
    if not (0 <= low <= high <= white):  # NaN fails every comparison
        raise DataError(f"{complaint.format(low, high)}: convert it")
    scaled = np.rint(levels * (255 / white)).astype(np.uint8)
    # Pillow turns the levels of 8 bits round, and no others
    return Image.fromarray(255 - scaled if _tag(image, _PHOTOMETRIC) == _WHITE_IS_ZERO else scaled)


def turned(image: Image, stored: Image) -> Image:
    """Turn an image by the orientation that its file stores."""
    from PIL import Image

    turns = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }
    turn = turns.get(orientation(stored))
    return image if turn is None else image.transpose(turn)


def orientation(image: Image) -> int:
    """Return the EXIF orientation of an image, 1 (upright) where there is none."""
    from PIL.ExifTags import Base

    value = image.getexif().get(Base.Orientation, 1)
    return value if isinstance(value, int) else 1


def image_endings() -> frozenset[str]:
    """Return the file endings, lower case with their dot, of the formats that Pillow can decode here."""
    from PIL import Image

    known = Image.registered_extensions()
    return frozenset(end for end, form in known.items() if form in Image.OPEN and form not in STUBS)
