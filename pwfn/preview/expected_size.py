"""How large a network that has not been trained yet would be on disk, by the same receipt that a finished one gets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pwfn.artifact.receipt import index_bits, make_receipt, own_counts
from pwfn.bayesian.gaussian_weight import GaussianWeight
from pwfn.bayesian.posterior import is_lazy, quantized_tensors


@dataclass(frozen=True)
class ExpectedSize:
    """Megabytes (10^6 bytes) of one network: plain float32, indices at their entropy, indices of `index_bits` each."""

    fp32_mb: float
    entropy_mb: float
    fixed_mb: float
    index_bits: int


def expected_size(counts: NDArray[np.int64], other_bytes: int, *, per_tensor: bool = False) -> ExpectedSize:
    """The size of a network in whose tensors the codebook entries are used `counts` [tensors, entries + 1] times.

    The last column counts weights that are still floats. Every weight is stored as the index of its entry; a free one as
    one more index, and its 32 bits besides. The `other_bytes` are stored as they are. `per_tensor`: each tensor has a
    codebook and an entropy of its own, and `index_bits` is that of the largest.
    """
    receipt = make_receipt(counts, rest=other_bytes, coded=0, zipped=None)
    entropy, fixed, bits = receipt.entropy_bound, receipt.fixed_width, index_bits(counts.sum(0))
    if per_tensor:
        assert receipt.tensor_entropy_bound is not None and receipt.tensor_fixed_width is not None
        entropy, fixed = receipt.tensor_entropy_bound, receipt.tensor_fixed_width
        bits = max(index_bits(own_counts(row)) for row in counts)
    return ExpectedSize(receipt.float32 / 1e6, entropy / 1e6, fixed / 1e6, bits)


def symbol_counts(assignment: Tensor, sizes: Sequence[int], entries: int) -> NDArray[np.int64]:
    """How often each of the `entries`, and then a free weight, occurs in each tensor [tensors, entries + 1].

    `assignment` holds the entry of every weight, flat, -1 = free; a tensor after the other has `sizes` of them.
    """
    rows = [torch.bincount(own + 1, minlength=entries + 1).roll(-1) for own in assignment.split(list(sizes))]
    return torch.stack(rows).cpu().numpy()


def other_bytes(network: nn.Module) -> int:
    """Bytes of everything in a Bayesian network's plain state dict that is not quantized; tied tensors count once."""
    quantized = {id(tensor.mu) for tensor in quantized_tensors(network)}
    rest = {id(tensor): tensor for tensor in _state(network) if id(tensor) not in quantized}
    return sum(tensor.numel() * tensor.element_size() for tensor in rest.values())


def _state(network: nn.Module) -> Iterator[Tensor]:
    """Parameters and persistent buffers, without sigmas and assignments."""
    for module in network.modules():
        if isinstance(module, GaussianWeight):
            continue
        yield from (p for p in module._parameters.values() if p is not None and not is_lazy(p))
        for name, buffer in module._buffers.items():
            if buffer is not None and name not in module._non_persistent_buffers_set:
                yield buffer
