"""Let a run start from the weights of a compressed network, `model.checkpoint=<folder>/model.pwfn`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from pwfn.models import weight_files


def read_artifact(path: Path) -> Mapping[str, Tensor]:
    """Return the state dict of a compressed network.

    Raises:
        ModelError: the file is no sound artifact, or does not say how its model is built.
    """
    from pwfn.artifact import ArtifactError, load  # numba and the decoder are for who needs them

    try:
        return dict(load(path).state_dict())
    except ArtifactError as error:
        raise weight_files.ModelError(str(error)) from error


weight_files.FORMATS[".pwfn"] = read_artifact
