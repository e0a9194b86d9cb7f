"""From a composed configuration to checked objects: every fault of the tree is found first, then reported at once.

Nothing here knows a class of this project: what is allowed is read from the constructors themselves, so a class that is
named in the configuration needs its type hints and its own `__post_init__`, and no second description anywhere.
"""

from __future__ import annotations

import abc
import importlib
import inspect
import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import InitVar, dataclass, field, is_dataclass
from enum import Enum
from functools import cache
from pathlib import PurePath
from types import NoneType, UnionType
from typing import Any, Literal, NoReturn, TypeVar, Union, get_args, get_origin, get_type_hints

from omegaconf import DictConfig, ListConfig
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException
from pydantic import TypeAdapter

from pwfn.config.messages import also, describe, nearest, nearest_key
from pwfn.errors import Fault, InvalidValueError, one_line

T = TypeVar("T")

MISSING = "???"  # how OmegaConf writes a value that has to be given
MAX_DEPTH = 50  # far below what a configuration that is meant to be read would nest
LEAF_CLASSES = (str, int, float, bytes, NoneType, dict, list, tuple, set, frozenset, PurePath, Enum)


class ConfigError(ValueError):
    """Every fault of one configuration, each one line that names the key, the value and what is allowed."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


def refuse(faults: list[str]) -> NoReturn:
    """Print the faults and end the program: exit code 2, as for a wrong command-line flag."""
    count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
    print(f"pwfn: {count} in the configuration:", *faults, sep="\n  ", file=sys.stderr)
    raise SystemExit(2)


def load(schema: type[T], cfg: DictConfig, also_known: Iterable[str] = ()) -> T:
    """Resolve the interpolations of `cfg` and build `schema` from it; raises `ConfigError`.

    `also_known` are names beside the schema's keys that a mistyped key may have meant (config groups).
    """
    try:
        return build(schema, _plain(cfg), also_known=also_known)
    except RecursionError:
        raise ConfigError(["the configuration refers to itself without end (an interpolation ${...})"]) from None


def build(schema: type[T], node: Mapping[str, Any], path: str = "", also_known: Iterable[str] = ()) -> T:
    """Build `schema` or, where `node` has a `_target_`, that subclass of it; raises `ConfigError` with every fault.

    `path` is put before every key in the messages. Only subclasses of the annotated types are ever called, so a
    configuration from elsewhere cannot run a function of its choice.
    """
    builder = _Builder(known=list(also_known))
    built: T = builder.section([schema], node, path)
    if builder.faults:
        raise ConfigError(builder.report())
    return built


@dataclass(frozen=True)
class _Broken:
    """Stands for a value whose interpolation failed, until the builder meets it and knows its path."""

    reason: str


def _plain(node: DictConfig | ListConfig, depth: int = 0) -> Any:
    """Nested dicts and lists with interpolations resolved one by one, so that a broken one does not hide the others."""
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
        return _Broken(one_line(str(error).partition("\n")[0], limit=None))
    return _plain(value, depth + 1) if isinstance(value, DictConfig | ListConfig) else value


@dataclass(frozen=True)
class _Unknown:
    """A key nobody asked for; its nearest match is looked up last, when all keys of the tree are known."""

    path: str
    value: Any
    section: str
    allowed: list[str]

    def line(self, known: list[str]) -> str:
        where = f"allowed in {self.section}" if self.section else "allowed"
        keys = ", ".join(self.allowed) or "none"
        return f"{self.path} = {self.value!r}: unknown key{also(nearest_key(self.path, known))}; {where}: {keys}"


class _Failed:
    """What a part that has faults is built as."""


@dataclass
class _Builder:
    faults: list[str | _Unknown] = field(default_factory=list)
    known: list[str] = field(default_factory=list)

    def report(self) -> list[str]:
        return [fault.line(self.known) if isinstance(fault, _Unknown) else fault for fault in self.faults]

    def section(self, allowed: list[type], node: Mapping[str, Any], path: str) -> Any:
        cls = self._class(allowed, node, path)
        if cls is None:
            return _Failed()
        faults_before = len(self.faults)
        arguments = self._arguments(cls, {key: value for key, value in node.items() if key != "_target_"}, path)
        return _Failed() if len(self.faults) > faults_before else self._construct(cls, arguments, path)

    def _class(self, allowed: list[type], node: Mapping[str, Any], path: str) -> type | None:
        target, key = node.get("_target_"), _dotted(path, "_target_")
        options = sorted(name for cls in allowed for name in _concrete(cls))
        listed = f"one of {', '.join(options)}" if options else f"a subclass of {_name(allowed[0])}"
        if "_target_" not in node:
            if len(allowed) == 1 and not inspect.isabstract(allowed[0]) and abc.ABC not in allowed[0].__bases__:
                return allowed[0]
            self.faults.append(f"{key}: has to be given: {listed}")
            return None
        if unusable := _unusable(target, key):
            self.faults += unusable
            return None
        found, problem = _find_class(target)
        if found is None or not issubclass(found, tuple(allowed)) or inspect.isabstract(found):
            why = f" ({problem})" if problem else ""
            self.faults.append(f"{Fault(key, target, listed)}{why}{also(nearest(str(target), options))}")
            return None
        return found

    def _arguments(self, cls: type, given: dict[str, Any], path: str) -> dict[str, Any]:
        parameters = dict(inspect.signature(cls).parameters)
        hints = get_type_hints(cls if is_dataclass(cls) else cls.__init__)  # type: ignore[misc]
        takes_any = any(parameters.pop(p.name).kind is p.VAR_KEYWORD for p in list(parameters.values()) if _is_star(p))
        self.known += [_dotted(path, name) for name in parameters]
        for key, value in given.items():
            if key not in parameters and not takes_any:
                self._unknown(_dotted(path, key), value, path, list(parameters))
        built = {key: value for key, value in given.items() if takes_any and key not in parameters}
        for name, parameter in parameters.items():
            if name in given:
                built[name] = self._value(hints.get(name, Any), given[name], _dotted(path, name))
            elif parameter.default is parameter.empty:
                self.faults.append(f"{_dotted(path, name)}: has to be given: {_expected(hints.get(name, Any))}")
        return built

    def _construct(self, cls: type, arguments: dict[str, Any], path: str) -> Any:
        try:
            return cls(**arguments)
        except InvalidValueError as error:
            self.faults += [str(Fault(_dotted(path, f.name), f.value, f.allowed)) for f in error.faults]
        except (ValueError, TypeError) as error:
            self.faults.append(f"{path or _name(cls)}: {one_line(error, limit=None)}")
        return _Failed()

    def _value(self, hint: Any, node: Any, path: str) -> Any:
        hint = hint.type if isinstance(hint, InitVar) else hint
        sections = _sections(hint)
        if sections and isinstance(node, Mapping):
            return self.section(sections, node, path)
        if unusable := _unusable(node, path, hint):
            self.faults += unusable
            return _Failed()
        if hint is Any or (node is None and NoneType in get_args(hint)):
            return node
        if sections:
            self.faults.append(str(Fault(path, node, _expected(hint))))
            return _Failed()
        return self._leaf(hint, node, path)

    def _leaf(self, hint: Any, node: Any, path: str) -> Any:
        try:
            # read as JSON, in which a list is the only way to write a tuple; strict, so that text is never a number
            return _adapter(hint).validate_json(json.dumps(node), strict=True)
        except (TypeError, ValueError):
            options = [str(option) for option in get_args(hint)] if get_origin(hint) is Literal else []
            self.faults.append(f"{Fault(path, node, describe(hint))}{also(nearest(str(node), options))}")
            return _Failed()

    def _unknown(self, path: str, value: Any, section: str, allowed: list[str]) -> None:
        if isinstance(value, Mapping) and value:  # one line for each value, so that each gets its own nearest match
            for key, inner in value.items():
                self._unknown(_dotted(path, key), inner, section, allowed)
        else:
            self.faults.append(_Unknown(path, value, section, allowed))


def _find_class(target: Any) -> tuple[type | None, str]:
    """The class called `target`, or None and why not. Only looks it up: it is for the caller to judge before calling."""
    module, _, name = str(target).rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except Exception as error:
        return None, one_line(f"{type(error).__name__}: {error}", limit=None)
    return (found, "") if isinstance(found, type) else (None, "not a class")


def _concrete(cls: type) -> set[str]:
    """Full names of the loaded classes that may stand where `cls` is asked for."""
    subclasses: list[type] = cls.__subclasses__()
    below = {name for subclass in subclasses for name in _concrete(subclass)}
    return below if inspect.isabstract(cls) or abc.ABC in cls.__bases__ else below | {_name(cls)}


def _sections(hint: Any) -> list[type]:
    """The classes in `hint` whose values are written as a section of keys rather than as one value."""
    parts = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    classes = [part for part in parts if isinstance(part, type) and get_origin(part) is None and part is not Any]
    return [cls for cls in classes if not issubclass(cls, LEAF_CLASSES)]


def _unusable(node: Any, path: str, hint: Any = Any) -> list[str]:
    """Faults of values, also inside a list or a free section, that were not given or could not be resolved."""
    if isinstance(node, _Broken):
        return [f"{path}: {node.reason}"]
    if isinstance(node, str) and node == MISSING:
        return [f"{path}: has to be given: {_expected(hint)}"]
    inner = node.items() if isinstance(node, Mapping) else enumerate(node) if isinstance(node, list) else ()
    return [fault for key, value in inner for fault in _unusable(value, _dotted(path, key))]


def _is_star(parameter: inspect.Parameter) -> bool:
    return parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)


def _expected(hint: Any) -> str:
    return "a section of keys" if _sections(hint) else describe(hint)


@cache
def _adapter(hint: Any) -> TypeAdapter[Any]:
    return TypeAdapter(hint)


def _name(cls: type) -> str:
    """The name to write in YAML: that of the package which exports the class, where one does."""
    package = ".".join(cls.__module__.split(".")[:2])
    exported = getattr(sys.modules.get(package), cls.__qualname__, None) is cls
    return f"{package if exported else cls.__module__}.{cls.__qualname__}"


def _dotted(path: str, key: Any) -> str:
    return f"{path}.{key}" if path else str(key)


def flat(node: Any, path: str = "") -> dict[str, Any]:
    """A nested config with dotted keys; lists stay whole, and so do empty sections."""
    if not isinstance(node, dict) or not node:
        return {path: node} if path else {}
    return {key: value for k, v in node.items() for key, value in flat(v, f"{path}.{k}" if path else str(k)).items()}
