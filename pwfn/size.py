"""How large a network is on disk: as it is, and as codebook indices."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pwfn import stats
from pwfn.posterior import GaussianWeight, is_lazy, quantised_tensors

FLOAT_BYTES = 4  # of a weight or a codebook entry that is stored as it is


@dataclass(frozen=True)
class ExpectedSize:
    """Megabytes (10^6 bytes) of one network: plain float32, indices at their entropy, indices of one fixed width."""

    fp32_mb: float
    entropy_mb: float
    fixed_mb: float
    index_bits: int


def expected_size(counts: Sequence[int], free: int, other_bytes: int) -> ExpectedSize:
    """The size of a network whose codebook entries are used `counts` times, with `free` weights that are still floats.

    Every weight is stored as the index of its entry; a free one as one more index, and its 32 bits besides. The codebook
    itself counts (32 bits an entry), and so do `other_bytes`, which are stored as they are. `entropy_mb` takes the
    Shannon entropy of the indices, the least that any code without knowledge of their order needs; `fixed_mb` takes
    `index_bits = ceil(log2(number of indices))` for each.
    """
    used = [*counts, free] if free else list(counts)
    weights = sum(used)
    index_bits = math.ceil(math.log2(len(used)))
    as_floats = other_bytes + FLOAT_BYTES * (len(counts) + free)
    entropy = stats.entropy_bits(torch.tensor(used))
    return ExpectedSize(
        fp32_mb=(other_bytes + FLOAT_BYTES * weights) / 1e6,
        entropy_mb=(as_floats + weights * entropy / 8) / 1e6,
        fixed_mb=(as_floats + weights * index_bits / 8) / 1e6,
        index_bits=index_bits,
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
