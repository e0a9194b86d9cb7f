"""A round without any choice: every weight's goal is the value nearest to it, and who is nearest to its goal goes first."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from pwfn.clustering.candidates import MIN_UNIT
from pwfn.clustering.chunking import in_one_thread
from pwfn.clustering.codebook import Codebook
from pwfn.clustering.greedy_cover import FREE
from pwfn.clustering.greedy_round import ClusterResult, check_weights, move
from pwfn.clustering.sigma_join import SigmaJoin, std_mu
from pwfn.clustering.unassigned import FreeWeights
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
    """Move exactly `ceil(fraction * N)` of N weights, each onto the value c of the codebook with the smallest |mu - c|.

    Those with the smallest `|mu - c| / max(tolerance, 2^-20)` are taken (the tolerance is sigma if none is given), compared
    as numbers of the dtype of mu, at least float32; ties go to the smaller value and to the smaller index. With a fraction
    of 1 it decides nothing. All else is as in `pwfn.clustering.cluster_round`; the result's `threshold` is how far the
    last weight taken had to go.
    """
    if not 0 < fraction <= 1:
        raise InvalidValueError([Fault("fraction", fraction, "above 0 and at most 1")])
    low, high, _ = check_weights(mu, sigma, tolerance)
    with in_one_thread():
        mu, sigma = mu.detach(), sigma.detach()
        unit = sigma if tolerance is None else tolerance.detach()
        values = codebook.made_for(mu, sizes)
        values.check(low, high)
        tables = values.listed(2 * max(-low, high))  # the value nearest to the largest weight may be above it
        goal, distance = _goals(FreeWeights(mu, unit, values.sizes), [table.to(mu.device) for table in tables])
        n = math.ceil(fraction * mu.numel())
        last = distance.kthvalue(n).values
        nearer, equal = distance < last, distance == last
        taken = nearer | (equal & (equal.cumsum(0) <= n - nearer.sum()))
        goal[~taken] = FREE
        in_use, slot = torch.unique(goal[taken], return_inverse=True)
        goal[taken] = slot.to(torch.int32)
        found = torch.cat(tables).to(mu.device)[in_use.to(torch.int64)]
        new_mu, new_sigma, codebook_in_use = move(mu, sigma, goal, found.to(mu.dtype), sigma_join)
    return ClusterResult(new_mu, new_sigma, goal, codebook_in_use, float(last), values)


def _goals(weights: FreeWeights, tables: list[Tensor]) -> tuple[Tensor, Tensor]:
    """The place of each weight's nearest value among all tables [N] int32, and how many units away it is."""
    starts = [0]
    for table in tables:
        starts.append(starts[-1] + table.numel())
    goal = torch.empty(weights.mu.shape, dtype=torch.int32, device=weights.mu.device)
    distance = torch.empty_like(weights.mu, dtype=torch.promote_types(weights.mu.dtype, torch.float32))
    for part in weights.parts:
        segment = weights.segment(part)
        mu, unit = weights.float64(part)
        place, way = _nearest(tables[segment], mu)
        goal[part] = place.add_(starts[segment])
        distance[part] = way.div_(unit.clamp_(min=MIN_UNIT))
    return goal, distance


def _nearest(table: Tensor, mu: Tensor) -> tuple[Tensor, Tensor]:
    """The place of the nearest value of an ascending table, the smaller of equally near ones, and the distance to it."""
    above = torch.searchsorted(table, mu).clamp_(max=table.numel() - 1)
    below = (above - 1).clamp_(min=0)
    up, down = (table[above] - mu).abs_(), (mu - table[below]).abs_()
    return torch.where(down <= up, below, above), torch.minimum(up, down)
