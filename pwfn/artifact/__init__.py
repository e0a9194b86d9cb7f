"""Keep a network in a file `model.pwfn` of about the entropy of its weights, which is safe to open.

`save` writes, `load` reads, `describe` looks at the header alone. docs/artifact.md describes the format. Nothing here
imports Hydra or Lightning, and `describe` not even torch. (timm imports W&B, for its own training script, where it is
installed.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pwfn.artifact.container import ArtifactError

if TYPE_CHECKING:
    from pwfn.artifact.description import describe
    from pwfn.artifact.read import load
    from pwfn.artifact.receipt import Receipt
    from pwfn.artifact.write import save

__all__ = ["ArtifactError", "Receipt", "describe", "load", "save"]

_HOMES = {"describe": "description", "load": "read", "Receipt": "receipt", "save": "write"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
