"""Word the faults of a configuration: types in simple words, and the nearest valid key or option."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from enum import Enum
from pathlib import PurePath
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

WORDS = {
    bool: ("true or false", "true/false values"),
    int: ("a whole number", "whole numbers"),
    float: ("a number", "numbers"),
    str: ("text (in quotes if it looks like a number)", "texts"),
    NoneType: ("null", "nulls"),
    dict: ("a section of keys", "sections of keys"),
    list: ("a list", "lists"),
    tuple: ("a list", "lists"),
}


def describe(hint: Any) -> str:
    """Describe a type as values are written in YAML: `tuple[float, ...]` is "a list of numbers"."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return describe(arguments[0])
    if origin is Literal:
        return f"one of {', '.join(map(str, arguments))}" if len(arguments) > 1 else str(arguments[0])
    if origin in (Union, UnionType):
        return " or ".join(describe(part) for part in arguments)
    if origin in (list, tuple) and len(set(arguments) - {Ellipsis}) == 1:
        size = "" if origin is list or Ellipsis in arguments else f"{len(arguments)} "
        entry = get_args(arguments[0])[0] if get_origin(arguments[0]) is Annotated else arguments[0]
        singular, plural = WORDS.get(entry, (describe(entry), ""))
        return f"a list of {size}{plural}" if plural else f"a list, each entry {singular}"
    if isinstance(hint, type) and issubclass(hint, Enum):
        return f"one of {', '.join(str(member.value) for member in hint)}"
    if isinstance(hint, type) and issubclass(hint, PurePath):
        return "a path"
    return WORDS.get(origin or hint, (str(getattr(hint, "__name__", hint)), ""))[0]


def nearest(word: str, options: Iterable[str], cutoff: float = 0.6) -> str | None:
    """Return the option most like `word`, or one that begins with it; case does not count.

    Args:
        word: What was written.
        options: What may be written.
        cutoff: Least likeness, 0 to 1, as in `difflib.get_close_matches`.
    """
    by_lower = {option.lower(): option for option in options}
    beginnings = [option for option in by_lower if len(word) > 2 and option.startswith(word.lower())]
    matches = get_close_matches(word.lower(), by_lower, n=1, cutoff=cutoff) or beginnings
    return by_lower[matches[0]] if matches else None


def nearest_key(path: str, known: Iterable[str]) -> str | None:
    """Return the key most likely meant: a neighbor, the same name elsewhere, then anything alike."""
    parent, _, leaf = path.rpartition(".")
    keys = list(known)
    leaves = {key.rpartition(".")[2]: key for key in reversed(keys)}
    neighbors = {key.rpartition(".")[2]: key for key in keys if key.rpartition(".")[0] == parent}
    same_name = [key for key in keys if key.rpartition(".")[2] == leaf]
    # paths share long beginnings, so comparing whole paths asks for more likeness than comparing names
    return (
        neighbors.get(nearest(leaf, neighbors, cutoff=0.75) or "")
        or nearest(path, same_name, cutoff=0.0)
        or neighbors.get(nearest(leaf, neighbors) or "")
        or nearest(path, keys, cutoff=0.85)
        or leaves.get(nearest(leaf, leaves, cutoff=0.75) or "")
    )


def also(match: str | None) -> str:
    """Return the words that add a nearest match to a fault."""
    return f"; the nearest is {match}" if match is not None else ""
