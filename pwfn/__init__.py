"""Probabilistic Weight Fixing: networks whose weights share one tiny codebook (arXiv:2309.13575).

`pwfn.load("model.pwfn")` gives a plain timm model, `pwfn.describe` says what a file holds, `pwfn.save` writes one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pwfn.artifact import ArtifactError, describe, load, save

__all__ = ["ArtifactError", "describe", "load", "save"]


def __getattr__(name: str) -> Any:
    """Import a name only when it is used: loading needs no training code, describing needs no torch."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from pwfn import artifact

    return getattr(artifact, name)
