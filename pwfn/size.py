"""How large a network that has not been trained yet would be on disk, by the same receipt that a finished one gets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn

from pwfn.artifact.receipt import make_receipt
from pwfn.posterior import GaussianWeight, is_lazy, quantised_tensors


@dataclass(frozen=True)
class ExpectedSize:
    """Megabytes (10^6 bytes) of one network: plain float32, indices at their entropy, indices of `index_bits` each."""

    fp32_mb: float
    entropy_mb: float
    fixed_mb: float
    index_bits: int


def expected_size(counts: Sequence[int], free: int, other_bytes: int) -> ExpectedSize:
    """The size of a network whose codebook entries are used `counts` times, with `free` weights that are still floats.

    Every weight is stored as the index of its entry; a free one as one more index, and its 32 bits besides. The
    `other_bytes` are stored as they are.
    """
    receipt = make_receipt(np.array([*counts, free], dtype=np.int64), rest=other_bytes, coded=0, zipped=None)
    return ExpectedSize(
        fp32_mb=receipt.float32 / 1e6,
        entropy_mb=receipt.entropy_bound / 1e6,
        fixed_mb=receipt.fixed_width / 1e6,
        index_bits=(len(counts) + (free > 0) - 1).bit_length(),
    )


def other_bytes(network: nn.Module) -> int:
    """Bytes of everything in a Bayesian network's plain state dict that is not quantised; tied tensors count once."""
    quantised = {id(tensor.mu) for tensor in quantised_tensors(network)}
    rest = {id(tensor): tensor for tensor in _state(network) if id(tensor) not in quantised}
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
