"""Run a round in which every weight goes to its nearest value, those nearest to theirs first."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from pwfn.clustering.chunking import in_one_thread
from pwfn.clustering.cluster_result import ClusterResult, move_weights
from pwfn.clustering.codebooks.codebook import Codebook
from pwfn.clustering.rounds.greedy_cover import FREE
from pwfn.clustering.rounds.nearest_members import n_nearest
from pwfn.clustering.rounds.round_input import RoundInput
from pwfn.clustering.rounds.unassigned import UnassignedWeights
from pwfn.clustering.sigma_join import SigmaJoin, std_mu
from pwfn.clustering.tolerance import MIN_TOLERANCE
from pwfn.errors import Fault, InvalidValueError


def nearest_round(
    mu: Tensor,
    sigma: Tensor,
    *,
    fraction: float,
    codebook: Codebook,
    sizes: Sequence[int] = (),
    sigma_join: SigmaJoin = std_mu,
    tolerance: Tensor | None = None,
) -> ClusterResult:
    """Move exactly `ceil(fraction * N)` of N weights, each onto the value c with the smallest |mu - c|.

    Those with the smallest `|mu - c| / max(tolerance, 2^-20)` are taken, compared as numbers of the dtype of mu, at
    least float32; ties go to the smaller value and to the smaller index. With a fraction of 1 it decides nothing.

    Args:
        mu: Means, floating [N], on any device; not changed.
        sigma: Standard deviations, of the shape and dtype of `mu`; not changed.
        fraction: Share of all weights to fix, above 0 and at most 1.
        codebook: Which values there are.
        sizes: Weights of each tensor, for codebooks with values for each; none: all are one tensor.
        sigma_join: The rule for the sigma of a cluster's members.
        tolerance: What distances are counted in, of the shape and dtype of `mu`; None: sigma.

    Returns:
        The result, whose `threshold` is how many tolerances the last weight taken had to go.

    Raises:
        ValueError: As `cluster_round` does.
    """
    if not 0 < fraction <= 1:
        raise InvalidValueError([Fault("fraction", fraction, "above 0 and at most 1")])
    return _cluster(RoundInput.checked(mu, sigma, tolerance), fraction, codebook, sizes, sigma_join)


@in_one_thread()
def _cluster(
    given: RoundInput, fraction: float, codebook: Codebook, sizes: Sequence[int], sigma_join: SigmaJoin
) -> ClusterResult:
    """Find every weight's value, choose the weights, then move them."""
    mu = given.mu
    values = codebook.fit(mu, sizes)
    values.check(given.lowest, given.highest)
    largest = max(-given.lowest, given.highest)
    tables = values.tables(2 * largest)  # the value nearest to the largest weight may be above it
    nearest, distance = _nearest_values(UnassignedWeights(mu, given.tolerance, values.sizes), tables)
    chosen = n_nearest(distance, math.ceil(fraction * mu.numel()))
    farthest = float(distance[chosen].max())
    in_use, cluster = torch.unique(nearest[chosen], return_inverse=True)
    clusters = torch.full_like(nearest, FREE)
    clusters[chosen] = cluster.to(torch.int32)
    found = torch.cat(tables)[in_use]
    new_mu, new_sigma, codebook_in_use = move_weights(mu, given.sigma, clusters, found.to(mu.dtype), sigma_join)
    return ClusterResult(new_mu, new_sigma, clusters, codebook_in_use, farthest, values)


def _nearest_values(weights: UnassignedWeights, tables: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Return each weight's nearest value, as its place among all tables, and the distance in tolerances."""
    starts = [0]
    for table in tables:
        starts.append(starts[-1] + table.numel())
    nearest = torch.empty(weights.mu.shape, dtype=torch.int32)
    distances = torch.empty_like(weights.mu, dtype=torch.promote_types(weights.mu.dtype, torch.float32))
    for chunk in weights.slices:
        segment = weights.segment(chunk)
        mu, tolerance = weights.float64(chunk)
        place, distance = _nearest(tables[segment], mu)
        nearest[chunk] = place.add_(starts[segment])
        distances[chunk] = distance.div_(tolerance.clamp_(min=MIN_TOLERANCE))
    return nearest, distances


def _nearest(table: Tensor, mu: Tensor) -> tuple[Tensor, Tensor]:
    """Return the place of the nearest table value, the smaller of equally near ones, and the distance."""
    above = torch.searchsorted(table, mu).clamp_(max=table.numel() - 1)
    below = (above - 1).clamp_(min=0)
    up, down = (table[above] - mu).abs_(), (mu - table[below]).abs_()
    return torch.where(down <= up, below, above), torch.minimum(up, down)
