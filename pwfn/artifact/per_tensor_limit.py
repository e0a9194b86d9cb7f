"""Let each tensor of a finished network use only a few of the shared values: surgery without training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from pwfn.artifact.container import ArtifactError
from pwfn.clustering.per_tensor_limit import kept_values


def limit_model(model: nn.Module, names: Sequence[str], most: int) -> int:
    """Move the weights of `model`, in place, so that each named tensor has at most `most` values.

    The values kept are those of the least squared error over the tensor's weights; an artifact has nothing of second
    order that could price a move better.

    Args:
        model: with float32 weights.
        names: of the coded tensors, in the state dict; tied ones once.
        most: values that a tensor may keep, at least 1.

    Returns:
        How many weights moved.

    Raises:
        ArtifactError: `most` is no such number, or a tensor has more than 4,096 values: the network is not clustered to
            the end.
    """
    moved = 0
    state = model.state_dict(keep_vars=True)
    with torch.no_grad():
        for name in names:
            values, index, counts = torch.unique(state[name], return_inverse=True, return_counts=True)
            try:
                target = kept_values(values.double().numpy(), counts.double().numpy(), most)
            except ValueError as error:
                raise ArtifactError(f"{name} cannot be limited to {most} values: {error}") from error
            moved += int(counts.numpy()[target != np.arange(len(target))].sum())
            state[name].copy_(values[torch.from_numpy(target)][index])
    return moved


def most_values(model: nn.Module, names: Sequence[str]) -> tuple[str, int]:
    """Return the named tensor with the most distinct values, and how many it has."""
    state = model.state_dict()
    counts = {name: int(torch.unique(state[name]).numel()) for name in names}
    name = max(counts, key=lambda one: counts[one])
    return name, counts[name]
