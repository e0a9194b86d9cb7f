"""Concatenate the quantized weights of a network into flat vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pwfn.bayesian.gaussian_weight import FREE
from pwfn.bayesian.posterior import QuantizedTensor


@dataclass(frozen=True)
class FlatWeights:
    """Hold all quantized weights, one tensor after the other.

    Attributes:
        mu: the means [weights].
        sigma: the standard deviations, at least 2^-30 [weights].
        assignment: the indices in the codebook, -1 where a weight is free (int32) [weights].
    """

    mu: Tensor
    sigma: Tensor
    assignment: Tensor

    @classmethod
    def of(cls, tensors: list[QuantizedTensor]) -> FlatWeights:
        """Copy them from the tensors of a network, to the device of their means."""
        return cls(
            torch.cat([t.mu.detach().flatten() for t in tensors]),
            torch.cat([t.gaussian.effective_sigma.flatten() for t in tensors]),
            torch.cat([t.gaussian.assignment.to(t.mu.device).flatten() for t in tensors]),
        )


def split_among(tensors: Sequence[QuantizedTensor], flat: Tensor) -> list[Tensor]:
    """Split what belongs to all weights [weights] among their tensors: a view in the shape of each."""
    pieces = flat.split([tensor.mu.numel() for tensor in tensors])
    return [piece.view(tensor.mu.shape) for tensor, piece in zip(tensors, pieces, strict=True)]


def check_fixed(tensors: list[QuantizedTensor], codebook: Tensor) -> None:
    """Check that every fixed weight is still exactly its codebook entry.

    Args:
        tensors: the quantized tensors of a network.
        codebook: its values [entries].

    Raises:
        RuntimeError: training has moved a fixed weight.
    """
    for tensor in tensors:
        fixed = tensor.gaussian.assignment != FREE
        entries = codebook[tensor.gaussian.assignment[fixed].to(torch.int64)]
        moved = int((tensor.mu.detach()[fixed] != entries).sum())
        if moved:
            raise RuntimeError(f"{moved} fixed weights of {tensor.name} moved during training; please report this")
