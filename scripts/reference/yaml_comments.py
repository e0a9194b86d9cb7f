"""Read the keys of an option of conf/ with their values and the comments that explain them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

_INLINE = re.compile(r"\s#\s+(.*)$")
_STRUCTURE = ("defaults", "_target_", "hydra")


@dataclass(frozen=True)
class Key:
    """Hold one key of an option: its dotted path, its value as YAML writes it, and its comment."""

    path: str
    value: str
    meaning: str


def heading(path: Path) -> str:
    """Return the comment that a file begins with, as one line."""
    lines = path.read_text(encoding="utf-8").splitlines()
    start = 1 if lines[0].startswith("# @package") else 0
    end = next((n for n in range(start, len(lines)) if not lines[n].startswith("#")), len(lines))
    return " ".join(line.lstrip("# ") for line in lines[start:end])


def keys_of(path: Path) -> dict[str, Key]:
    """Return the keys of an option by their paths, those of the options that it begins with first."""
    text = path.read_text(encoding="utf-8")
    bases = [entry for entry in (yaml.safe_load(text) or {}).get("defaults", []) if isinstance(entry, str)]
    found: dict[str, Key] = {}
    for base in bases:
        if base != "_self_" and "@" not in base and path.with_stem(base).is_file():
            found |= keys_of(path.with_stem(base))
    for key in _own_keys(text):
        meaning = key.meaning or (found[key.path].meaning if key.path in found else "")
        found[key.path] = Key(key.path, key.value, meaning)
    return found


def _own_keys(text: str) -> Iterator[Key]:
    root = yaml.compose(text)
    if isinstance(root, yaml.MappingNode):
        yield from _below(root, "", text.splitlines())


def _below(node: yaml.MappingNode, path: str, lines: list[str]) -> Iterator[Key]:
    for name, value in node.value:
        dotted = f"{path}.{name.value}" if path else str(name.value)
        if name.value in _STRUCTURE:
            continue
        if isinstance(value, yaml.MappingNode) and value.value:
            yield from _below(value, dotted, lines)
        else:
            first, last = value.start_mark, value.end_mark
            yield Key(dotted, _written(value, lines), _comment(lines, first.line, last.line, name.start_mark.column))


def _written(value: yaml.Node, lines: list[str]) -> str:
    if isinstance(value, yaml.ScalarNode) and not value.style:
        return str(value.value)
    start, end = value.start_mark, value.end_mark
    if start.line == end.line:
        return lines[start.line][start.column : end.column]
    return yaml.serialize(value, default_flow_style=True).strip()


def _comment(lines: list[str], first: int, last: int, column: int) -> str:
    """Return a value's comment: in its lines and indented below them, or else in the lines above."""
    inline = _INLINE.search(lines[first]) or _INLINE.search(lines[last])
    if inline is None:
        above = []
        while first > 0 and lines[first - 1].strip().startswith("#"):
            first -= 1
            above.insert(0, lines[first].strip().lstrip("# "))
        return " ".join(above)
    words = [inline[1]]
    for line in lines[last + 1 :]:
        if not line.strip().startswith("#") or len(line) - len(line.lstrip()) <= column:
            break
        words.append(line.strip().lstrip("# "))
    return " ".join(words)
