"""What an artifact says about itself, without touching a weight."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pwfn.artifact import container
from pwfn.artifact.container import VERSION, ArtifactError
from pwfn.artifact.header import parse


def describe(path: str | Path) -> dict[str, Any]:
    """The header of an artifact as plain values, read and verified without the rest of the file.

    Beside the header's own keys (docs/artifact.md): `format_version`, `file` (bytes of the file), `weights`, `free`.
    Raises ArtifactError.
    """
    path = Path(path)
    text, payload, size = container.read_header(path)
    try:
        header = parse(text, payload)
    except ArtifactError as error:
        raise ArtifactError(f"{path}: {error}") from error
    extra = {"format_version": VERSION, "file": size, "weights": header.weights, "free": header.free}
    return {**header.model_dump(mode="json"), **extra}
