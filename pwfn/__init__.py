"""Probabilistic Weight Fixing: networks whose weights share one tiny codebook (arXiv:2309.13575).

`pwfn.load("model.pwfn")` gives an ordinary timm model, `pwfn.describe` says what a file holds, `pwfn.save` writes one.
`pwfn.compress` compresses a trained network without training it again, within a `pwfn.Budget`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pwfn.artifact import ArtifactError, describe, load, save
    from pwfn.post_training import Budget, compress

__all__ = ["ArtifactError", "Budget", "compress", "describe", "load", "save"]


def __getattr__(name: str) -> Any:
    """Import a name only when it is used: loading needs no training code, describing needs no torch."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    wing = "post_training" if name in ("Budget", "compress") else "artifact"
    return getattr(import_module(f"pwfn.{wing}"), name)
