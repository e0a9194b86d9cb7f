"""Choose which members of a cluster that is cut short are taken: the nearest by (distance, index)."""

from __future__ import annotations

import torch
from torch import Tensor

from pwfn.clustering.rounds.intervals import Intervals
from pwfn.clustering.tolerance import MIN_TOLERANCE


def n_nearest(distance: Tensor, n: int) -> Tensor:
    """Return which n elements have the smallest distance, of equals the first ones: bool [m].

    Args:
        distance: Distances [m], floating, no NaN.
        n: How many to choose, 1 to m.
    """
    last = distance.kthvalue(n).values
    chosen = distance < last
    equal = (distance == last).nonzero().flatten()
    chosen[equal[: n - int(chosen.sum())]] = True
    return chosen


def nearest_members(intervals: Intervals, is_member: Tensor, candidate: int, n: int) -> Tensor:
    """Return the n members of a cluster that are nearest to its candidate.

    Distances are `|mu - c| / max(tolerance, 2^-20)`, of equal ones the first is nearer. Weights that `zero_fix`
    lets reach zero from anywhere come before all others.

    Args:
        intervals: The intervals of the M unassigned weights.
        is_member: Which of the P intervals belong to the cluster, bool [P].
        candidate: The candidate's index.
        n: How many members to take, at least 1 and at most all.

    Returns:
        Positions among all N weights [n], in no particular order.
    """
    weights, candidates = intervals.weights, intervals.candidates
    position = weights.select(intervals.per_weight(is_member), int(intervals.cover.counts[is_member].sum()))
    at_zero = weights.mu.index_select(0, position).abs_() < candidates.zero_radius(candidate)
    first = int(at_zero.sum())
    if n <= first:
        return _nearest_of(position[at_zero], intervals, candidate, n)
    return torch.cat([position[at_zero], _nearest_of(position[~at_zero], intervals, candidate, n - first)])


def _nearest_of(position: Tensor, intervals: Intervals, candidate: int, n: int) -> Tensor:
    """Return the n of these positions whose weights are nearest to the candidate."""
    weights, value = intervals.weights, intervals.candidates.value(candidate)
    distance = weights.mu.index_select(0, position).double().sub_(value).abs_()
    distance /= weights.tolerance.index_select(0, position).double().clamp_(min=MIN_TOLERANCE)
    return position[n_nearest(distance, n)]
