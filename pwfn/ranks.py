"""Several processes: what rank 0 has decided is the same on every rank, to the last bit.

With one process every function here gives back what it was given.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

T = TypeVar("T")


def several() -> bool:
    """Whether other processes take part in this run."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def is_first() -> bool:
    """Whether this process is the one that decides: rank 0, or the only one."""
    return not several() or dist.get_rank() == 0


def agree(value: T | None) -> T:
    """Rank 0's `value`, a small object that can be pickled, on every rank; what the others give is not looked at."""
    box = [value]
    if several():
        dist.broadcast_object_list(box, 0, group=_cpu_group(dist.group.WORLD))
    return box[0]  # type: ignore[return-value]  # None only where rank 0 gave None


def agree_on_tensors(tensors: Sequence[Tensor] | None) -> list[Tensor]:
    """Rank 0's tensors, contiguous and on the CPU, on every rank; the others give None and receive new ones."""
    kinds = agree(None if tensors is None else [(t.shape, t.dtype) for t in tensors])
    shared = [torch.empty(shape, dtype=dtype) for shape, dtype in kinds] if tensors is None else list(tensors)
    if several():
        for tensor in shared:
            dist.broadcast(tensor, 0, group=_cpu_group(dist.group.WORLD))
    return shared


def share_statistics(network: nn.Module) -> None:
    """Give every rank the float buffers of rank 0: BatchNorm's running mean and variance.

    DDP does so before each training step, so after the last one every rank would test statistics of its own.
    """
    if several():
        for buffer in network.buffers():
            if buffer.is_floating_point():
                dist.broadcast(buffer, 0, group=_cpu_group(dist.group.WORLD))


@lru_cache(maxsize=1)
def _cpu_group(world: Any) -> Any:
    """A group of all ranks of `world` that sends CPU tensors: NCCL cannot, and Lightning ends each fit and each test by
    moving the network to the CPU. Clustering runs there, too."""
    return dist.new_group(backend="gloo")
