"""The quantised weights of a whole network as one flat vector: clustered together, moved together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from pwfn.clustering import ClusterResult, cluster_round
from pwfn.codebook import AdditivePow2
from pwfn.posterior import FREE, QuantisedTensor
from pwfn.sigma_join import SigmaJoin


@dataclass(frozen=True)
class FlatWeights:
    """All quantised weights, tensor after tensor: `mu`, `sigma` (at least 2^-30) float32, `assignment` int32."""

    mu: Tensor
    sigma: Tensor
    assignment: Tensor

    @classmethod
    def of(cls, tensors: list[QuantisedTensor]) -> FlatWeights:
        return cls(
            torch.cat([t.mu.detach().flatten() for t in tensors]),
            torch.cat([t.gaussian.effective_sigma.flatten() for t in tensors]),
            torch.cat([t.gaussian.assignment.flatten() for t in tensors]),
        )


def cluster_network(
    tensors: list[QuantisedTensor],
    before: FlatWeights,
    *,
    fraction: float,
    threshold: float,
    inc: float,
    zero_fix: bool,
    codebook: AdditivePow2,
    sigma_join: SigmaJoin,
) -> ClusterResult:
    """Cluster `before`, the weights of `tensors`, and write the outcome into the network.

    With several processes rank 0 decides and the others receive: every rank ends with the same bits by construction,
    and the work is done once. Afterwards the network's mu, sigma and assignment equal the result's.
    """
    several = dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
    result = None
    if not several or dist.get_rank() == 0:
        result = cluster_round(
            before.mu,
            before.sigma,
            fraction=fraction,
            threshold=threshold,
            inc=inc,
            b=codebook.b,
            max_order=codebook.max_order,
            zero_fix=zero_fix,
            sigma_join=sigma_join,
        )
    if several:
        result = _from_rank_0(result, before)
    assert result is not None
    _write(tensors, result, sigma_join.retrain)
    return result


def _from_rank_0(result: ClusterResult | None, like: FlatWeights) -> ClusterResult:
    """Rank 0's result on every rank."""
    head = like.mu.new_zeros(2, dtype=torch.float64)  # size of the codebook, threshold
    if result is not None:
        head = head.new_tensor([result.codebook.numel(), result.threshold])
    dist.broadcast(head, 0, group=_cpu_group(dist.group.WORLD))
    if result is None:
        result = ClusterResult(
            torch.empty_like(like.mu),
            torch.empty_like(like.sigma),
            torch.empty_like(like.assignment),
            like.mu.new_empty(int(head[0])),
            float(head[1]),
        )
    for tensor in (result.mu, result.sigma, result.assignment, result.codebook):
        dist.broadcast(tensor, 0, group=_cpu_group(dist.group.WORLD))
    return result


@lru_cache(maxsize=1)
def _cpu_group(world: Any) -> Any:
    """A group of all ranks of `world` that sends CPU tensors: NCCL cannot, and Lightning ends each fit and each test by
    moving the network to the CPU. Clustering runs there, too."""
    return dist.new_group(backend="gloo")


def _pieces(tensors: list[QuantisedTensor], flat: Tensor) -> Iterator[tuple[QuantisedTensor, Tensor]]:
    sizes = [t.mu.numel() for t in tensors]
    for tensor, piece in zip(tensors, flat.split(sizes), strict=True):
        yield tensor, piece.view_as(tensor.mu)


def _write(tensors: list[QuantisedTensor], result: ClusterResult, retrain: bool) -> None:
    with torch.no_grad():
        for tensor, mu in _pieces(tensors, result.mu):
            tensor.mu.copy_(mu)
            tensor.gaussian.retrain_sigma.fill_(retrain)
        for tensor, sigma in _pieces(tensors, result.sigma):
            tensor.gaussian.sigma.copy_(sigma)
        for tensor, assignment in _pieces(tensors, result.assignment):
            tensor.gaussian.assignment.copy_(assignment)


def share_statistics(network: nn.Module) -> None:
    """With several processes, give every rank the float buffers of rank 0: BatchNorm's running mean and variance.

    DDP does so before each training step, so after the last one every rank would test statistics of its own.
    """
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        for buffer in network.buffers():
            if buffer.is_floating_point():
                dist.broadcast(buffer, 0, group=_cpu_group(dist.group.WORLD))


def check_fixed(tensors: list[QuantisedTensor], codebook: Tensor) -> None:
    """Raise RuntimeError if a fixed weight is not exactly its codebook entry any more: training must not move it."""
    for tensor in tensors:
        fixed = tensor.gaussian.assignment != FREE
        entries = codebook[tensor.gaussian.assignment[fixed].to(torch.int64)]
        strayed = int((tensor.mu.detach()[fixed] != entries).sum())
        if strayed:
            raise RuntimeError(f"{strayed} fixed weights of {tensor.name} moved during training; please report this")
