"""Turn a command line and YAML files into typed settings, or list every fault at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pwfn.config.build import ConfigError
    from pwfn.config.output_folders import OwnFolder

__all__ = ["ConfigError", "OwnFolder"]


def __getattr__(name: str) -> Any:
    """Import a name only when it is used: what tells how the program was started needs no Hydra."""
    from importlib import import_module

    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"pwfn.config.{'build' if name == 'ConfigError' else 'output_folders'}"), name)
