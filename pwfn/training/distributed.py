"""Share values and decisions among the ranks of a run.

With one process every function returns what it was given. With several each is a collective: every rank calls it, in
the same order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from pwfn.errors import RunError

T = TypeVar("T")


class RanksDiffer(RunError):
    """End a run whose ranks do not have the same network any more."""

    on_all_ranks = True


def is_distributed() -> bool:
    """Tell whether the run has more than one rank."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def is_rank_zero() -> bool:
    """Tell whether this process is rank 0, which decides, or the only one."""
    return not is_distributed() or dist.get_rank() == 0


def broadcast_object(value: T | None) -> T:
    """Return rank 0's `value`, a small object that can be pickled, on every rank; ignore the others'."""
    box = [value]
    if is_distributed():
        dist.broadcast_object_list(box, 0, group=_cpu_group(dist.group.WORLD))
    return box[0]  # type: ignore[return-value]  # None only where rank 0 gave None


def broadcast_tensors(tensors: Sequence[Tensor] | None) -> list[Tensor]:
    """Return rank 0's tensors, contiguous and on the CPU, on every rank; the others give None."""
    kinds = broadcast_object(None if tensors is None else [(t.shape, t.dtype) for t in tensors])
    shared = [torch.empty(shape, dtype=dtype) for shape, dtype in kinds] if tensors is None else list(tensors)
    if is_distributed():
        for tensor in shared:
            dist.broadcast(tensor, 0, group=_cpu_group(dist.group.WORLD))
    return shared


def all_reduce_max(value: int) -> int:
    """Return the largest `value` of any rank on every rank."""
    agreed = torch.tensor(value)
    if is_distributed():
        dist.all_reduce(agreed, op=dist.ReduceOp.MAX, group=_cpu_group(dist.group.WORLD))
    return int(agreed)


def all_reduce_sum(tensor: Tensor) -> Tensor:
    """Return the sum of every rank's `tensor`, on the device of this one's."""
    if not is_distributed():
        return tensor
    total = tensor.detach().to("cpu", copy=True).contiguous()
    dist.all_reduce(total, group=_cpu_group(dist.group.WORLD))
    return total.to(tensor.device)


def all_gather_object(value: T) -> list[T]:
    """Return the `value` of every rank, in their order, on every rank; each can be pickled."""
    if not is_distributed():
        return [value]
    values: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value, group=_cpu_group(dist.group.WORLD))
    return values


def check_same(network: nn.Module, moment: str) -> None:
    """Raise RanksDiffer on every rank unless all tensors of `network` have the same bits on all ranks.

    Args:
        network: whose state dict is compared.
        moment: when this is, for the message: "after the training of round 2/10".
    """
    if not is_distributed():
        return
    first, *others = all_gather_object({name: _digest(tensor) for name, tensor in network.state_dict().items()})
    for rank, other in enumerate(others, start=1):
        different = [name for name, digest in first.items() if other.get(name) != digest]
        if different:
            raise RanksDiffer(
                f"{moment}, {len(different)} of {len(first)} tensors of rank {rank} are not those of rank 0 "
                f"({different[0]} is the first): the run cannot go on"
            )


def has_lost_another(error: BaseException) -> bool:
    """Tell whether an exception means that another rank has ended (gloo has no type for it)."""
    messages = ("Connection closed by peer", "Connection reset by peer", "Broken pipe")
    return (
        isinstance(error, RuntimeError) and "gloo" in str(error) and any(message in str(error) for message in messages)
    )


def _digest(tensor: Tensor) -> bytes:
    content = tensor.detach().cpu().contiguous().view(-1).view(torch.uint8)
    return hashlib.sha256(content.numpy().tobytes()).digest()


def broadcast_statistics(network: nn.Module) -> None:
    """Give every rank the float buffers of rank 0: BatchNorm's running mean and variance.

    Each rank gathers statistics of its own while it trains; a test wants the same ones everywhere.
    """
    if is_distributed():
        for buffer in network.buffers():
            if buffer.is_floating_point():
                dist.broadcast(buffer, 0, group=_cpu_group(dist.group.WORLD))


@lru_cache(maxsize=1)
def _cpu_group(_world: Any) -> Any:  # the key of the cache: another world, another group
    """Make a group of all ranks that sends CPU tensors, which NCCL cannot.

    Lightning ends each fit and each test by moving the network to the CPU, and clustering runs there.
    """
    return dist.new_group(backend="gloo")
