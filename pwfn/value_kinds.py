"""Mark the settings that are a path or a free text, and find the file that a path means."""

from __future__ import annotations

import os
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, get_args

_LOCAL = "local-dir:"  # what timm puts before a folder where the name of a model is expected


class Kind(Enum):
    """Tell what a text may be; one without a kind is a name, without spaces and commas."""

    PATH = "a path"
    NAME_OR_PATH = "a name or a path"
    TEXT = "a free text"


FilePath = Annotated[str, Kind.PATH]
NameOrPath = Annotated[str, Kind.NAME_OR_PATH]
FreeText = Annotated[str, Kind.TEXT]


def path_of(text: str) -> Path:
    """Return the path that an argument of a command line names; `~` at its beginning is a home."""
    return Path(os.path.expanduser(text))  # Path.expanduser refuses a user who is not known


def kinds(hint: Any) -> set[Kind]:
    """Return the kinds of text that a type hint has, also those within a list."""
    return {part for part in _walk(hint) if isinstance(part, Kind)}


def placed(value: Any, hint: Any, folder: str | None = None) -> Any:
    """Return a value with every path as the system finds it: `~` is a home, relative ones in `folder`.

    Args:
        value: of a setting; only the texts in it are paths.
        hint: its type; without a path in it, the value is returned as it is.
        folder: where relative paths are seen from, absolute; None leaves them relative.
    """
    found = kinds(hint) & {Kind.PATH, Kind.NAME_OR_PATH}
    if not found:
        return value
    if isinstance(value, list | tuple):
        return type(value)(placed(one, hint, folder) for one in value)
    return _path(value, folder, may_be_name=Kind.PATH not in found) if isinstance(value, str) else value


def _path(text: str, folder: str | None, *, may_be_name: bool) -> str:
    if text.startswith(_LOCAL):
        return _LOCAL + _path(text.removeprefix(_LOCAL), folder, may_be_name=False)
    if "://" in text or text.startswith("pipe:"):  # of data sets that are read from elsewhere
        return text
    path = os.path.expanduser(text)
    if folder is None or not text:
        return path
    there = os.path.normpath(os.path.join(folder, path))
    return path if may_be_name and not os.path.exists(there) else there


def _walk(hint: Any) -> Iterator[Any]:
    yield hint
    yield from getattr(hint, "__metadata__", ())
    for part in get_args(hint):
        yield from _walk(part)
