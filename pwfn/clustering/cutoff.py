"""Which members of a cluster that is cut short are taken: the nearest in `|mu - c| / unit`.

The members are not sorted. The leading bits of each distance make a coarse key, a histogram of the keys tells in which
bin the border lies, and only the members in this bin are compared exactly.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pwfn.clustering.candidates import MIN_UNIT
from pwfn.clustering.chunking import count_codes, look_up
from pwfn.clustering.intervals import Reach
from pwfn.clustering.unassigned import FreeWeights

KEY_BITS = 14  # of a distance as float32, which is not negative: 8 of the exponent, 6 of the significand
NO_MEMBER = (1 << KEY_BITS + 1) - 1  # the key of all others


def nearest(reach: Reach, member: Tensor, centroid: int, n: int) -> Tensor:
    """1 for the n members that are nearest to the centroid, 0 for all other weights, as int16 [M].

    `member` [P] tells which intervals of `reach.cover` were taken for the centroid (a point of the axis). The weights that
    zero_fix puts at distance 0 come first, then the nearer ones; among equals those of smaller index.
    """
    keys, counts = _coarse_keys(reach, member, centroid)
    up_to = counts.cumsum(0)
    border = int(torch.searchsorted(up_to, n))
    n -= int(up_to[border] - counts[border])
    last = _nearest_of_bin(reach.weights, keys, border, reach.axis.value(centroid), n)
    for part in reach.weights.parts:
        keys[part].sub_(border).clamp_(-1, 0).neg_()
    return keys.scatter_(0, last, 1)


def _coarse_keys(reach: Reach, member: Tensor, centroid: int) -> tuple[Tensor, Tensor]:
    """The key of every weight, int16 [M], which never falls as the distance grows; how often each occurs, on the CPU."""
    weights, value, tiny = reach.weights, reach.axis.value(centroid), reach.axis.tiny(centroid)
    keys = torch.empty(len(weights), dtype=torch.int16, device=weights.mu.device)
    counts = torch.zeros(NO_MEMBER + 1, dtype=torch.int64, device=keys.device)
    offset = reach.outcome(torch.where(member, 0, NO_MEMBER).to(torch.int32))
    for part in weights.parts:
        mu, unit = weights.float64(part)
        bits = _distance(mu, unit, value).float().view(torch.int32)
        key = (bits >> (31 - KEY_BITS)).add_(offset(part))
        if tiny:
            not_tiny = mu.abs_() >= tiny
            key.add_(not_tiny.to(torch.int32), alpha=1 << KEY_BITS)
        keys[part] = key.clamp_(max=NO_MEMBER)
        count_codes(counts, keys[part])
    return keys, counts.cpu()


def _nearest_of_bin(weights: FreeWeights, keys: Tensor, border: int, centroid: float, n: int) -> Tensor:
    """Which n weights (int64, among the M) are nearest of those whose key is `border`."""
    members = torch.cat([(keys[part] == border).nonzero().flatten() + part.start for part in weights.parts])
    if n == members.numel():
        return members
    positions = members if weights.index is None else look_up(weights.index, members)
    mu, unit = (look_up(x, positions).double() for x in (weights.mu, weights.unit))
    distance = _distance(mu, unit, centroid)
    last = distance.kthvalue(n).values
    nearer, equal = distance < last, distance == last
    return members[nearer | equal & (equal.cumsum(0) <= n - nearer.sum())]


def _distance(mu: Tensor, unit: Tensor, centroid: float) -> Tensor:
    return (mu - centroid).abs_().div_(unit.clamp_(min=MIN_UNIT))
