"""Build typed, checked settings from a composed configuration, or report every fault of it at once.

Nothing here knows a class of this project: what is allowed is read from the constructors themselves, so a class that is
named in the configuration needs its type hints and its own `__post_init__`, and no second description anywhere. A
class whose values depend on each other has a method `checks` (pwfn.errors.Check): they are judged beside wrong values.
"""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from types import NoneType
from typing import Any, Literal, NoReturn, TypeVar, get_args, get_origin

from omegaconf import DictConfig
from pydantic import TypeAdapter

from pwfn.config.classes import concrete, exported_name, find_class, is_interface, targets
from pwfn.config.hints import expected, how_given, sections_of
from pwfn.config.key_hints import hints_of
from pwfn.config.nested import dotted, resolved, unusable_values
from pwfn.config.wording.messages import also, describe, nearest
from pwfn.config.wording.pages import pages_of
from pwfn.config.wording.unknown_key import UnknownKey, owners
from pwfn.errors import Fault, InvalidValueError, broken, one_line
from pwfn.value_kinds import placed

T = TypeVar("T")


class ConfigError(ValueError):
    """Carry every fault of one configuration, each one line with key, value and what is allowed."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


def refuse(faults: list[str]) -> NoReturn:
    """Print the faults and the pages that explain them; end with exit code 2, as for a wrong flag."""
    count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
    explained = f" ({', '.join(pages)})" if (pages := pages_of(faults)) else ""
    print(f"pwfn: {count} in the configuration{explained}:", *faults, sep="\n  ", file=sys.stderr)
    raise SystemExit(2)


def load(
    schema: type[T],
    cfg: DictConfig,
    also_known: Iterable[str] = (),
    importable: Container[str] | None = (),
    seen_from: str | None = None,
) -> T:
    """Resolve the interpolations of `cfg` and build `schema` from it.

    Args:
        schema: the class of the whole.
        cfg: a composed or saved configuration.
        also_known: names beside the schema's keys that a mistyped key may have meant (config groups).
        importable: the `_target_`s whose modules may be imported; None = all of `cfg`, which has to be the user's own.
        seen_from: the folder that relative paths are seen from; None = the working folder, whenever they are used.

    Returns:
        An object of `schema`.

    Raises:
        ConfigError: with every fault.
    """
    try:
        node = resolved(cfg)
        own = targets(node) if importable is None else importable
        return build(schema, node, also_known=also_known, importable=own, seen_from=seen_from)
    except RecursionError:
        raise ConfigError(["the configuration refers to itself without end (an interpolation ${...})"]) from None


def build(
    schema: type[T],
    node: Mapping[str, Any],
    path: str = "",
    also_known: Iterable[str] = (),
    importable: Container[str] = (),
    seen_from: str | None = None,
) -> T:
    """Build `schema` or, where `node` has a `_target_`, that subclass of it.

    Only subclasses of the annotated types are called, so that a configuration cannot run a function of its choice.

    Args:
        schema: the class to build.
        node: nested dicts and lists without interpolations.
        path: what is put before every key in the messages.
        also_known: as in `load`.
        importable: as in `load`.
        seen_from: as in `load`.

    Returns:
        An object of `schema`.

    Raises:
        ConfigError: with every fault.
    """
    builder = _Builder(list(also_known), importable, seen_from)
    built: T = builder.section([schema], node, path)
    if builder.faults:
        raise ConfigError(builder.report())
    return built


class _Failed:
    """Stand for a section or value that has faults."""


@dataclass
class _Builder:
    known: list[str]
    importable: Container[str] = ()
    seen_from: str | None = None
    faults: list[str | UnknownKey] = field(default_factory=list)

    def report(self) -> list[str]:
        return [fault.line(self.known) if isinstance(fault, UnknownKey) else fault for fault in self.faults]

    def section(self, allowed: list[type], node: Mapping[str, Any], path: str) -> Any:
        cls = self._class(allowed, node, path)
        if cls is None:
            return _Failed()
        faults_before = len(self.faults)
        arguments = self._arguments(
            cls, {key: value for key, value in node.items() if key != "_target_"}, path, allowed
        )
        if len(self.faults) == faults_before:
            return self._construct(cls, arguments, path)
        self._judge(cls, arguments, path)
        return _Failed()

    def _class(self, allowed: list[type], node: Mapping[str, Any], path: str) -> type | None:
        target, key = node.get("_target_"), dotted(path, "_target_")
        options = sorted(exported_name(found) for cls in allowed for found in concrete(cls))
        listed = f"one of {', '.join(options)}" if options else f"a subclass of {exported_name(allowed[0])}"
        if "_target_" not in node:
            if len(allowed) == 1 and not is_interface(allowed[0]):
                return allowed[0]
            self.faults.append(f"{key}: has to be given: {listed}")
            return None
        if unusable := unusable_values(target, key):
            self.faults += unusable
            return None
        found, problem = find_class(target, allowed, self.importable)
        if found is None:
            why = f" ({problem})" if problem else ""
            self.faults.append(f"{Fault(key, target, listed)}{why}{also(nearest(str(target), options))}")
            return None
        return found

    def _arguments(self, cls: type, given: dict[str, Any], path: str, among: list[type]) -> dict[str, Any]:
        parameters = dict(inspect.signature(cls).parameters)
        hints = hints_of(cls)
        takes_any = any(parameters.pop(p.name).kind is p.VAR_KEYWORD for p in list(parameters.values()) if _is_star(p))
        self.known += [dotted(path, name) for name in parameters]
        for key, value in given.items():
            if key not in parameters and not takes_any:
                self._unknown(UnknownKey(dotted(path, key), value, path, list(parameters), owners(key, cls, among)))
        built = {key: value for key, value in given.items() if takes_any and key not in parameters}
        for name, parameter in parameters.items():
            if name in given:
                built[name] = self._value(hints.get(name, Any), given[name], dotted(path, name))
            elif parameter.default is parameter.empty:
                self.faults.append(f"{dotted(path, name)}: has to be given: {expected(hints.get(name, Any))}")
        return built

    def _judge(self, cls: type, arguments: dict[str, Any], path: str) -> None:
        """Hold what could be built of a section with faults against the section's own checks."""
        if not hasattr(cls, "checks"):
            return
        built = {key: value for key, value in arguments.items() if not isinstance(value, _Failed)}
        partial: Any = object.__new__(cls)
        for key, value in built.items():
            object.__setattr__(partial, key, value)  # the classes are frozen
        absent = set(inspect.signature(cls).parameters) - set(built)
        self._add(broken(partial.checks(), partial, absent), path)

    def _add(self, faults: list[Fault], path: str) -> None:
        self.faults += [str(Fault(dotted(path, f.name), f.value, f.allowed)) for f in faults]

    def _construct(self, cls: type, arguments: dict[str, Any], path: str) -> Any:
        try:
            return cls(**arguments)
        except InvalidValueError as error:
            self._add(error.faults, path)
        except (ValueError, TypeError) as error:
            self.faults.append(f"{path or 'the configuration'}: {one_line(error, limit=None)}")
        return _Failed()

    def _value(self, hint: Any, node: Any, path: str) -> Any:
        sections = sections_of(hint)
        if sections and isinstance(node, Mapping):
            return self.section(sections, node, path)
        if unusable := unusable_values(node, path, hint):
            self.faults += unusable
            return _Failed()
        if hint is Any or (node is None and NoneType in get_args(hint)):
            return node
        if sections:
            self.faults.append(str(Fault(path, node, f"{expected(hint)}{how_given(sections)}")))
            return _Failed()
        return self._leaf(hint, node, path)

    def _leaf(self, hint: Any, node: Any, path: str) -> Any:
        try:
            # read as JSON, in which a list is the only way to write a tuple; strict, so that text is never a number
            return placed(_adapter(hint).validate_json(json.dumps(node), strict=True), hint, self.seen_from)
        except (TypeError, ValueError):
            options = [str(option) for option in get_args(hint)] if get_origin(hint) is Literal else []
            self.faults.append(f"{Fault(path, node, describe(hint))}{also(nearest(str(node), options))}")
            return _Failed()

    def _unknown(self, found: UnknownKey) -> None:
        if isinstance(found.value, Mapping) and found.value:  # one line for each value, so that each has its own match
            for key, inner in found.value.items():
                self._unknown(replace(found, path=dotted(found.path, key), value=inner))
        else:
            self.faults.append(found)


def _is_star(parameter: inspect.Parameter) -> bool:
    return parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)


@cache
def _adapter(hint: Any) -> TypeAdapter[Any]:
    return TypeAdapter(hint)
