"""Look at every image file before anything trains, in threads, and remember what was found."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pwfn.data.files.decoding import DEEP, decoded, orientation, readable
from pwfn.data.images import DataError
from pwfn.errors import one_line

ALPHA = ("LA", "La", "PA", "RGBA", "RGBa")
NAMED = 50  # files that are listed by name


@dataclass(frozen=True, slots=True)
class Found:
    """Hold what was found of a file.

    Attributes:
        size: of the file, in bytes.
        time: when it was last changed, in ns.
        fault: why it cannot be read as an image; None where it can.
        alpha: whether it is transparent.
        turned: whether its EXIF orientation turns it.
        decoded: whether all of it was decoded, or its headers alone read.
        brightest: its largest level of 255, where it has more than 8 bits and was decoded.
    """

    size: int
    time: int
    fault: str | None
    alpha: bool = False
    turned: bool = False
    decoded: bool = False
    brightest: int | None = None


# What this process knows of files, by path; a file of another size or time is looked at again.
_known: dict[str, Found] = {}


def look_at(
    paths: Sequence[str],
    *,
    headers_only: bool = False,
    cache: Path | None = None,
    progress: Callable[[int, int], None] = lambda done, count: None,
) -> dict[str, Found]:
    """Find out of each file whether it is an image that can be read.

    Args:
        paths: of the files.
        headers_only: read only the beginning of each: fast, but a file that ends too early is not noticed.
        cache: file that keeps what was found, by path, size and time; None keeps it in this process alone.
        progress: is told how many files have been looked at, and of how many.

    Returns:
        What was found of each file, by its path.
    """
    if cache is not None:
        _known.update(_read(cache))
    found = {}
    threads = ThreadPoolExecutor(min(32, 2 * (os.cpu_count() or 1)))
    with warnings.catch_warnings(), threads:  # each image silences Pillow, and threads share the filters
        warnings.simplefilter("ignore")
        looking = threads.map(lambda path: _look(path, headers_only), paths)
        for number, (path, one) in enumerate(zip(paths, looking, strict=True), start=1):
            found[path] = _known[path] = one
            progress(number, len(paths))
    if cache is not None:
        _write(cache)
    return found


def refuse_unreadable(
    paths: Sequence[str],
    place: str | None,
    *,
    skip: bool,
    headers_only: bool,
    cache: Path,
    progress: Callable[[int, int], None],
) -> Iterable[Found]:
    """Look at every file, and return what was found of each.

    Args:
        paths: of the files.
        place: what the message begins with.
        skip: whether files that cannot be read are as good as any, because they will be left out.
        headers_only: as in `look_at`.
        cache: as in `look_at`.
        progress: as in `look_at`.

    Returns:
        What was found, file by file.

    Raises:
        DataError: naming every file that cannot be read.
    """
    found = look_at(paths, headers_only=headers_only, cache=cache, progress=progress)
    broken = {path: one.fault for path, one in found.items() if one.fault is not None}
    if broken and not skip:
        raise DataError(f"{place}: {complaint(broken, len(paths))}")
    return found.values()


def complaint(broken: dict[str, str], count: int) -> str:
    """Name every broken file of `count`, with its fault."""
    listed = "; ".join(broken[path] for path in sorted(broken)[:NAMED])
    more = f"; and {len(broken) - NAMED} more" if len(broken) > NAMED else ""
    return f"{len(broken)} of {count} images cannot be read (data.check=skip leaves them out): {listed}{more}"


def _look(path: str, headers_only: bool) -> Found:
    try:
        status = os.stat(path)
    except OSError as error:
        return Found(0, 0, f"{path}: not a readable image ({error.strerror})")
    at = (status.st_size, status.st_mtime_ns)
    before = _known.get(path)
    if before is not None and (before.size, before.time) == at and (headers_only or before.decoded):
        return before
    from PIL import Image

    try:
        with readable(path), Image.open(path) as image:
            alpha = image.mode in ALPHA or "transparency" in image.info
            deep = image.mode in DEEP
            turned = "exif" in image.info and orientation(image) != 1  # without it, Pillow would decode the image
        seen = None if headers_only else decoded(path, path)
    except DataError as error:
        return Found(*at, str(error), decoded=True)
    brightest = int(np.asarray(seen).max()) if deep and seen is not None else None
    return Found(*at, None, alpha, turned, decoded=seen is not None, brightest=brightest)


def _read(cache: Path) -> dict[str, Found]:
    """Read what an earlier look has left; a cache that cannot be read is made anew."""
    try:
        rows: dict[str, list[Any]] = json.loads(cache.read_text(encoding="utf-8"))
        return {path: Found(*row) for path, row in rows.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _write(cache: Path) -> None:
    """Keep what was found; a cache that cannot be written is a warning."""
    rows = {path: astuple(one) for path, one in _known.items() if one.time}
    own = cache.with_name(f"{cache.name}.{os.getpid()}")  # jobs of a sweep may write at the same time
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        own.write_text(json.dumps(rows), encoding="utf-8")
        own.replace(cache)
    except OSError as error:
        message = f"{cache} cannot be written ({one_line(error.strerror)}): the next run looks at all images again"
        warnings.warn(message, RuntimeWarning, stacklevel=2)
    finally:
        with suppress(OSError):
            own.unlink(missing_ok=True)
