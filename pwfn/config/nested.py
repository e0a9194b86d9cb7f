"""Read a nested configuration: resolve its interpolations, or flatten it to dotted keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, ListConfig
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from pwfn.config.hints import expected
from pwfn.errors import one_line

MISSING = "???"  # how OmegaConf writes a value that has to be given
MAX_DEPTH = 50  # far below what a configuration that is meant to be read would nest


@dataclass(frozen=True)
class Broken:
    """Stand for a value whose interpolation failed, until the builder meets it and knows its path."""

    reason: str


def resolved(node: DictConfig | ListConfig, depth: int = 0) -> Any:
    """Return nested dicts and lists; a broken interpolation becomes a `Broken` and hides no other."""
    if depth > MAX_DEPTH:
        raise RecursionError
    keys = range(len(node)) if isinstance(node, ListConfig) else list(node)
    values = [_read(node, key, depth) for key in keys]
    return values if isinstance(node, ListConfig) else dict(zip(map(str, keys), values, strict=True))


def _read(container: DictConfig | ListConfig, key: Any, depth: int) -> Any:
    try:
        value = container[key]
    except MissingMandatoryValue:
        return MISSING
    except OmegaConfBaseException as error:
        return Broken(one_line(str(error).partition("\n")[0], limit=None))
    return resolved(value, depth + 1) if isinstance(value, DictConfig | ListConfig) else value


def flat(node: Any, path: str = "") -> dict[str, Any]:
    """Return a nested config with dotted keys; lists stay whole, and so do empty sections."""
    if not isinstance(node, dict) or not node:
        return {path: node} if path else {}
    return {key: value for k, v in node.items() for key, value in flat(v, f"{path}.{k}" if path else str(k)).items()}


def unusable_values(node: Any, path: str, hint: Any = Any) -> list[str]:
    """Return the faults of values, also in a list or free section, that are missing or unresolved.

    Args:
        node: a resolved tree.
        path: dotted, of `node`.
        hint: the type of the field it is for.
    """
    if isinstance(node, Broken):
        return [f"{path}: {node.reason}"]
    if isinstance(node, str) and node == MISSING:
        return [f"{path}: has to be given: {expected(hint)}"]
    inner = node.items() if isinstance(node, Mapping) else enumerate(node) if isinstance(node, list) else ()
    return [fault for key, value in inner for fault in unusable_values(value, dotted(path, key))]


def dotted(path: str, key: Any) -> str:
    """Return the path of a key below a section; the whole has the empty path."""
    return f"{path}.{key}" if path else str(key)
