"""Find by a dotted key which types its value may have, over all classes that may stand on the way."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import InitVar, is_dataclass
from functools import cache
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from pwfn.config.classes import concrete
from pwfn.config.hints import sections_of
from pwfn.value_kinds import FilePath, FreeText, Kind, kinds

_HYDRAS_OWN = {  # that people set on a command line
    "hydra.run.dir": FilePath,
    "hydra.sweep.dir": FilePath,
    "hydra.sweep.subdir": FreeText,
    "hydra.output_subdir": FreeText,
    "hydra.job.name": FreeText,
}


@cache
def hints_of(cls: type) -> dict[str, Any]:
    """Return the type hints of a constructor, with their annotations."""
    found = get_type_hints(cls if is_dataclass(cls) else cls.__init__, include_extras=True)  # type: ignore[misc]
    return {name: hint.type if isinstance(hint, InitVar) else hint for name, hint in found.items()}


class KeyHints:
    """Answer questions about the keys of a schema; None as schema knows Hydra's own keys alone."""

    def __init__(self, schema: type[Any] | None) -> None:
        self.schema = schema

    def of(self, key: str) -> list[Any]:
        """Return the types that the value of a dotted key may have; empty for an unknown key."""
        if key in _HYDRAS_OWN:
            return [_HYDRAS_OWN[key]]
        *sections, leaf = key.split(".")
        classes: set[type] = set() if self.schema is None else {self.schema}
        for name in sections:
            hints = [hint for cls in classes if (hint := _hint(cls, name)) is not None]
            classes = {found for hint in hints for base in sections_of(hint) for found in concrete(base)}
        return [hint for cls in classes if (hint := _hint(cls, leaf)) is not None]

    def takes_text(self, key: str) -> bool:
        """Say whether the value of a key may be a text."""
        return str in {part for hint in self.of(key) for part in _leaves(hint)}

    def takes_text_alone(self, key: str) -> bool:
        """Say whether the value of a key is a text, or null, and nothing else."""
        parts = {part for hint in self.of(key) for part in _leaves(hint)}
        return str in parts and parts <= {str, type(None)}

    def takes_list_of_texts(self, key: str) -> bool:
        """Say whether the value of a key may be a list of texts."""
        parts = {part for hint in self.of(key) for part in _leaves(hint)}
        lists = [part for part in parts if get_origin(part) in (list, tuple)]
        return any(str in {leaf for entry in get_args(part) for leaf in _leaves(entry)} for part in lists)

    def is_free(self, key: str) -> bool:
        """Say whether a key is a path or a free text, in which a comma need not separate two values."""
        return any(kinds(hint) & {Kind.PATH, Kind.TEXT} for hint in self.of(key))

    def is_path(self, key: str) -> bool:
        """Say whether a key may be a path."""
        return any(kinds(hint) & {Kind.PATH, Kind.NAME_OR_PATH} for hint in self.of(key))


def _hint(cls: type, name: str) -> Any:
    return hints_of(cls).get(name) if name in inspect.signature(cls).parameters else None


def _leaves(hint: Any) -> Iterator[Any]:
    """Yield the types that a value may have, without what they are annotated with."""
    if get_origin(hint) is Annotated:
        yield from _leaves(get_args(hint)[0])
    elif get_origin(hint) in (Union, UnionType):
        for part in get_args(hint):
            yield from _leaves(part)
    else:
        yield hint
