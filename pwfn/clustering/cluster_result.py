"""Move the weights of clusters onto their values and join their sigmas: what every round ends with."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pwfn.clustering.chunking import chunks
from pwfn.clustering.cluster_moments import cluster_moments
from pwfn.clustering.codebooks.codebook import Values
from pwfn.clustering.rounds.greedy_cover import FREE
from pwfn.clustering.sigma_join import RootMeanSquare, SigmaJoin


@dataclass(frozen=True)
class ClusterResult:
    """Hold the outcome of a round on N weights; all tensors are on the CPU.

    Attributes:
        mu: New means [N], in the dtype of the input.
        sigma: New standard deviations [N], in the dtype of the input.
        assignment: Index into `codebook` of each weight, int32 [N]; -1 = free.
        codebook: The values in use, sorted, in the dtype of the input.
        threshold: The final k: how many tolerances (sigmas by default) the last weights were allowed to move.
        values: The values that were on offer: with them for a codebook, the next round gives fixed weights the values
            they have.
    """

    mu: Tensor
    sigma: Tensor
    assignment: Tensor
    codebook: Tensor
    threshold: float
    values: Values | None = None


def move_weights(
    mu: Tensor, sigma: Tensor, clusters: Tensor, values: Tensor, sigma_join: SigmaJoin
) -> tuple[Tensor, Tensor, Tensor]:
    """Give the members of every cluster its value and their joined sigma.

    The same value may have been taken at several thresholds: such clusters are joined apart, then numbered by value.

    Args:
        mu: Means before the move [N].
        sigma: Standard deviations before the move [N].
        clusters: The cluster of each weight, int32 [N], -1 = free; becomes the assignment, in place.
        values: The value of each cluster, in the dtype of mu; none without members.
        sigma_join: The rule for the members' sigma.

    Returns:
        New mu [N], new sigma [N], and the codebook: the distinct values, sorted.
    """
    codebook, number = torch.unique(values, return_inverse=True)
    # The free weights, whose cluster is -1, have row 0 of each table.
    numbers = torch.cat([number.new_tensor([FREE]), number]).to(torch.int32)
    value = torch.cat([values.new_zeros(1), values])
    joined = None
    if isinstance(sigma_join, RootMeanSquare):
        joined = torch.cat([sigma.new_zeros(1), _joined_sigma(mu, sigma, clusters, values.numel(), sigma_join)])
    new_mu, new_sigma = torch.empty_like(mu), torch.empty_like(sigma)
    for chunk in chunks(mu.numel()):
        row = clusters[chunk] - FREE
        is_free = row == 0
        members_sigma = sigma_join(mu[chunk], sigma[chunk]) if joined is None else joined.index_select(0, row)
        new_mu[chunk] = torch.where(is_free, mu[chunk], value.index_select(0, row))
        new_sigma[chunk] = torch.where(is_free, sigma[chunk], members_sigma)
        clusters[chunk] = numbers.index_select(0, row)
    return new_mu, new_sigma, codebook


def _joined_sigma(mu: Tensor, sigma: Tensor, clusters: Tensor, n: int, sigma_join: RootMeanSquare) -> Tensor:
    """Return the sigma that the members of each of the n clusters get, in the dtype of sigma."""
    _, mean, variance = cluster_moments(
        clusters, n, lambda chunk: sigma_join.quantity(mu[chunk], sigma[chunk]).double()
    )
    return sigma_join.joined(mean, variance).to(sigma.dtype)
