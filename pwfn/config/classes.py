"""Find the classes that a configuration may name with `_target_`."""

from __future__ import annotations

import abc
import importlib
import inspect
import os
import sys
from collections.abc import Container, Mapping
from typing import Any

from pwfn.errors import one_line
from pwfn.renamed import RENAMED

OWN_MODULES = "PWFN_IMPORT"  # the variable with modules whose classes saved runs may name, separated by commas


def own_modules() -> list[str]:
    """Return the names of the modules in `PWFN_IMPORT`."""
    return [module for module in os.environ.get(OWN_MODULES, "").split(",") if module]


def import_own_modules() -> list[str]:
    """Import the modules of `PWFN_IMPORT` and return a fault for each that cannot be imported."""
    faults = []
    for module in own_modules():
        try:
            importlib.import_module(module)
        except ImportError as error:
            faults.append(f"{OWN_MODULES} = {module!r}: must be a module that can be imported ({error})")
    return faults


def find_class(target: Any, allowed: list[type], importable: Container[str]) -> tuple[type | None, str]:
    """Find the subclass of `allowed` that `target` names; the class is not called.

    Args:
        target: the value of `_target_`, also a name that the class had in an earlier version.
        allowed: the base classes, one of which the class must have.
        importable: the names whose module may be imported. A name outside it is looked up among the loaded classes
            alone, so that a file from elsewhere imports nothing of its choice.

    Returns:
        The class and an empty text, or None and the reason, which is empty where the name is simply another's.
    """
    name = RENAMED.get(target, target) if isinstance(target, str) else target
    known = {
        spelling: cls for base in allowed for cls in concrete(base) for spelling in (exported_name(cls), _path(cls))
    }
    if name in known:
        return known[name], ""
    if target not in importable:
        return None, ""
    module, _, attribute = str(target).rpartition(".")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except Exception as error:  # whatever a module does when it is imported
        return None, one_line(f"{type(error).__name__}: {error}", limit=None)
    if not isinstance(found, type):
        return None, "not a class"
    return (found, "") if found in {cls for base in allowed for cls in concrete(base)} else (None, "")


def targets(node: Any) -> set[str]:
    """Return every `_target_` of a nested configuration."""
    if isinstance(node, Mapping):
        own = {node["_target_"]} if isinstance(node.get("_target_"), str) else set()
        return own.union(*map(targets, node.values()))
    return set().union(*map(targets, node)) if isinstance(node, list) else set()


def concrete(cls: type) -> set[type]:
    """Return the loaded classes that may stand where `cls` is asked for."""
    subclasses: list[type] = cls.__subclasses__()
    below = {found for subclass in subclasses for found in concrete(subclass)}
    return below if is_interface(cls) else below | {cls}


def is_interface(cls: type) -> bool:
    """Say whether a configuration has to choose a subclass of `cls`."""
    return inspect.isabstract(cls) or abc.ABC in cls.__bases__


def exported_name(cls: type) -> str:
    """Return the name to write in YAML: that of the wing which exports the class, where one does."""
    package = ".".join(cls.__module__.split(".")[:2])
    exported = getattr(sys.modules.get(package), cls.__qualname__, None) is cls
    return f"{package}.{cls.__qualname__}" if exported else _path(cls)


def _path(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"
