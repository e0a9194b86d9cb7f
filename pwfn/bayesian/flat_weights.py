"""Concatenate the quantized weights of a network into flat vectors."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pwfn.bayesian.gaussian_weight import FREE
from pwfn.bayesian.posterior import QuantizedTensor


@dataclass(frozen=True)
class FlatWeights:
    """All quantized weights, tensor after tensor: `mu`, `sigma` (at least 2^-30) float32, `assignment` int32."""

    mu: Tensor
    sigma: Tensor
    assignment: Tensor

    @classmethod
    def of(cls, tensors: list[QuantizedTensor]) -> FlatWeights:
        return cls(
            torch.cat([t.mu.detach().flatten() for t in tensors]),
            torch.cat([t.gaussian.effective_sigma.flatten() for t in tensors]),
            torch.cat([t.gaussian.assignment.flatten() for t in tensors]),
        )


def check_fixed(tensors: list[QuantizedTensor], codebook: Tensor) -> None:
    """Raise RuntimeError if a fixed weight is not exactly its codebook entry any more: training must not move it."""
    for tensor in tensors:
        fixed = tensor.gaussian.assignment != FREE
        entries = codebook[tensor.gaussian.assignment[fixed].to(torch.int64)]
        strayed = int((tensor.mu.detach()[fixed] != entries).sum())
        if strayed:
            raise RuntimeError(f"{strayed} fixed weights of {tensor.name} moved during training; please report this")
