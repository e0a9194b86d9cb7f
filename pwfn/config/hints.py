"""Tell by its type hint whether a value is written as a section of keys."""

from __future__ import annotations

from enum import Enum
from pathlib import PurePath
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

from pwfn.config.wording.messages import describe
from pwfn.config.wording.quoting import shell_word

LEAF_CLASSES = (str, int, float, bytes, NoneType, dict, list, tuple, set, frozenset, PurePath, Enum)


def sections_of(hint: Any) -> list[type]:
    """Return the classes in `hint` whose values are written as a section of keys rather than as one value."""
    parts = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    classes = [part for part in parts if isinstance(part, type) and get_origin(part) is None and part is not Any]
    return [cls for cls in classes if not issubclass(cls, LEAF_CLASSES)]


def expected(hint: Any) -> str:
    """Return what a message says a value of this type must be."""
    return "a section of keys" if sections_of(hint) else describe(hint)


def how_given(sections: list[type]) -> str:
    """Return what a message adds for a section that people switch on as a whole: how its keys do it.

    A class says it in `switched_on_by`, an override.
    """
    examples = [example for cls in sections if (example := getattr(cls, "switched_on_by", None)) is not None]
    return f", as in {' or '.join(map(shell_word, examples))}" if examples else ""
