"""The quantized weights of a whole network as one flat vector: clustered together, moved together."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from pwfn.bayesian.flat_weights import FlatWeights
from pwfn.bayesian.posterior import QuantizedTensor
from pwfn.clustering.codebook import Codebook
from pwfn.clustering.greedy_round import ClusterResult
from pwfn.clustering.rules import Rule
from pwfn.clustering.sigma_join import SigmaJoin
from pwfn.training.distributed import broadcast_object, broadcast_tensors


def cluster_network(
    tensors: list[QuantizedTensor],
    before: FlatWeights | None,
    *,
    fraction: float,
    threshold: float,
    rule: Rule,
    codebook: Codebook,
    sigma_join: SigmaJoin,
    tolerance: Callable[[FlatWeights], Tensor] = lambda weights: weights.sigma,
) -> ClusterResult:
    """Cluster `before`, the weights of `tensors`, and write the outcome into the network.

    Afterwards the network's mu, sigma and assignment equal the result's. `tolerance` is asked once, on rank 0. Raises
    ValueError for weights that cannot be clustered.

    With several processes rank 0 alone clusters and sends the outcome; on the others `before` is None. So every rank
    ends with the same bits by construction, even if the ranks' weights had come apart, and nothing is done twice.
    Shards of the weights, whose counts are summed, would be no faster where the processes share a machine's cores and
    memory bandwidth, as a round is little more than a few passes over the weights; they would need several exchanges
    per threshold, and the one that gathers the outcome all the same.
    """
    result = None
    if before is not None:
        try:
            result = rule.at(threshold)(
                before.mu,
                before.sigma,
                fraction=fraction,
                codebook=codebook,
                sizes=[tensor.mu.numel() for tensor in tensors],
                sigma_join=sigma_join,
                tolerance=tolerance(before),
            )
        except ValueError as error:
            broadcast_object(str(error))  # the others wait to hear how it went
            raise
    if fault := broadcast_object(""):
        raise ValueError(fault)
    result = _from_rank_0(result)
    _write(tensors, result, sigma_join.retrain)
    return result


def _from_rank_0(result: ClusterResult | None) -> ClusterResult:
    """Rank 0's result on every rank."""
    threshold, values = broadcast_object(None if result is None else (result.threshold, result.values))
    tensors = None if result is None else (result.mu, result.sigma, result.assignment, result.codebook)
    mu, sigma, assignment, codebook = broadcast_tensors(tensors)
    return ClusterResult(mu, sigma, assignment, codebook, threshold, values)


def _pieces(tensors: list[QuantizedTensor], flat: Tensor) -> Iterator[tuple[QuantizedTensor, Tensor]]:
    sizes = [t.mu.numel() for t in tensors]
    for tensor, piece in zip(tensors, flat.split(sizes), strict=True):
        yield tensor, piece.view_as(tensor.mu)


def _write(tensors: list[QuantizedTensor], result: ClusterResult, retrain: bool) -> None:
    with torch.no_grad():
        for tensor, mu in _pieces(tensors, result.mu):
            tensor.mu.copy_(mu)
            tensor.gaussian.retrain_sigma.fill_(retrain)
        for tensor, sigma in _pieces(tensors, result.sigma):
            tensor.gaussian.sigma.copy_(sigma)
        for tensor, assignment in _pieces(tensors, result.assignment):
            tensor.gaussian.assignment.copy_(assignment)
