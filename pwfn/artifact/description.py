"""Describe an artifact by its header, without touching a weight."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pwfn.artifact import container
from pwfn.artifact.container import ArtifactError
from pwfn.artifact.header_checks import parse_header
from pwfn.renamed import with_present_names


def describe(path: str | Path) -> dict[str, Any]:
    """Return the header of an artifact as JSON has it, read and verified without the rest of the file.

    Classes in `config` have the names of this version, also where an earlier one wrote the file.

    Returns:
        The header's own keys (docs/artifact.md) and `format_version`, `file` (bytes of the file), `weights` (how many
        are coded) and `free` (how many of them are in no codebook entry).

    Raises:
        ArtifactError: the file cannot be read or is not a sound artifact.
    """
    path = Path(path)
    version, text, payload, size = container.read_header(path)
    try:
        header = parse_header(text, payload, version)
    except ArtifactError as error:
        raise ArtifactError(f"{path}: {error}") from error
    content = header.model_dump(mode="json")
    content["config"] = with_present_names(content["config"])
    return {**content, "format_version": version, "file": size, "weights": header.weights, "free": header.free}
