"""Cluster the quantized weights of a whole network together, and write the outcome into it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from pwfn.bayesian.flat_weights import FlatWeights, split_among
from pwfn.bayesian.posterior import QuantizedTensor
from pwfn.clustering.cluster_result import ClusterResult
from pwfn.clustering.codebooks.codebook import Codebook
from pwfn.clustering.per_tensor_limit import limit_result
from pwfn.clustering.rules import RuleOfWeights
from pwfn.clustering.sigma_join import SigmaJoin
from pwfn.clustering.tolerance import MIN_TOLERANCE
from pwfn.training.distributed import broadcast_object, broadcast_tensors
from pwfn.training.signals import StopNow


@dataclass(frozen=True)
class PerTensorLimit:
    """Limit the values of each tensor, and say whether tolerances of the loss price a move."""

    most: int
    second_order: bool


def cluster_network(
    tensors: list[QuantizedTensor],
    before: FlatWeights | None,
    *,
    fraction: float,
    threshold: float,
    rule: RuleOfWeights,
    codebook: Codebook,
    sigma_join: SigmaJoin,
    tolerance: Callable[[FlatWeights], Tensor] = lambda weights: weights.sigma,
    limit: PerTensorLimit | None = None,
    at_once: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> ClusterResult:
    """Cluster the weights of a network, write the outcome into it and return it, on the CPU.

    Of several processes rank 0 alone clusters and broadcasts, so that every rank ends with the same bits.

    Args:
        tensors: The network's quantized tensors, on any device; mu, sigma and assignment are overwritten.
        before: Their weights; None on all ranks but 0.
        fraction: Share of all weights to fix, above 0 and at most 1.
        threshold: How many tolerances a weight may move at first.
        rule: By which rule weights are fixed.
        codebook: Which values there are.
        sigma_join: The rule for the sigma of a cluster's members.
        tolerance: Gives the tolerances [N]; called once, on rank 0.
        limit: How many values each tensor may use, if not all.
        at_once: Makes a context that rank 0 clusters in, and that may raise StopNow.

    Raises:
        ValueError: On every rank, for weights that cannot be clustered.
        StopNow: On every rank, where rank 0 is asked to stop; nothing was written then.
    """
    sizes = [tensor.mu.numel() for tensor in tensors]
    cluster = partial(rule.at(threshold), fraction=fraction, codebook=codebook, sizes=sizes, sigma_join=sigma_join)
    if limit is not None:
        cluster = partial(_limited, cluster, limit, sizes)
    result = _from_rank_0(cluster, before, tolerance, at_once)
    write_clusters(tensors, result, sigma_join.retrain)
    return result


def _limited(
    cluster: Callable[..., ClusterResult],
    limit: PerTensorLimit,
    sizes: list[int],
    mu: Tensor,
    sigma: Tensor,
    tolerance: Tensor,
) -> ClusterResult:
    """Cluster, then move each tensor's fixed weights to the few values that cost least."""
    stiffness = tolerance.double().clamp(min=MIN_TOLERANCE) ** -2 if limit.second_order else None
    return limit_result(cluster(mu, sigma, tolerance=tolerance), sizes, limit.most, stiffness)


def _from_rank_0(
    cluster: Callable[..., ClusterResult],
    before: FlatWeights | None,
    tolerance: Callable[[FlatWeights], Tensor],
    at_once: Callable[[], AbstractContextManager[None]],
) -> ClusterResult:
    """Cluster where `before` is not None; return the result, or raise its error, on every rank.

    Its error is a ValueError or StopNow.
    """
    result, refusal, asked = None, None, 0
    if before is not None:
        try:
            with at_once():
                result = cluster(before.mu, before.sigma, tolerance=tolerance(before))
        except ValueError as error:
            refusal = error
        except StopNow as stop:
            asked = stop.number
    message, asked = broadcast_object(("" if refusal is None else str(refusal), asked))
    if asked:
        raise StopNow(asked)
    if message:
        raise ValueError(message) from refusal
    threshold, values = broadcast_object(None if result is None else (result.threshold, result.values))
    tensors = None if result is None else (result.mu, result.sigma, result.assignment, result.codebook)
    mu, sigma, assignment, codebook = broadcast_tensors(tensors)
    return ClusterResult(mu, sigma, assignment, codebook, threshold, values)


def write_clusters(tensors: list[QuantizedTensor], result: ClusterResult, retrain: bool) -> None:
    """Copy a result into the network, to whichever device that is on.

    Args:
        tensors: of the network.
        result: of a clustering of these tensors.
        retrain: whether the sigmas of fixed weights go on training.
    """
    pieces = (split_among(tensors, flat) for flat in (result.mu, result.sigma, result.assignment))
    with torch.no_grad():
        for tensor, mu, sigma, assignment in zip(tensors, *pieces, strict=True):
            tensor.mu.copy_(mu)
            tensor.gaussian.sigma.copy_(sigma)
            tensor.gaussian.assignment.copy_(assignment)
            tensor.gaussian.retrain_sigma.fill_(retrain)
