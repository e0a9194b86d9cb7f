"""Run one greedy clustering round (Subia-Waud and Dasmahapatra 2023, arXiv:2309.13575, section 3).

A weight reaches the candidates with `|mu - c| <= k * max(sigma, 2^-20)`, and the candidate that most free weights reach
(or, by choice, the one that saves most bits) is taken first. No candidates x weights matrix is built: the weights are
passed over once per threshold to make a histogram (`pwfn.clustering.rounds.intervals`), the greedy choice runs on the
histogram (`pwfn.clustering.rounds.greedy_cover`), and one look-up assigns the weights. Only those still free are
looked at again. `docs/clustering.md` has the figures.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from pwfn.clustering.chunking import in_one_thread
from pwfn.clustering.cluster_result import ClusterResult, move_weights
from pwfn.clustering.codebooks.codebook import AdditivePow2, Codebook, Values
from pwfn.clustering.rounds.greedy_cover import CUT_SHORT, FREE, Gain, GainRule, most_weights
from pwfn.clustering.rounds.intervals import Intervals
from pwfn.clustering.rounds.nearest_members import nearest_members
from pwfn.clustering.rounds.round_input import RoundInput
from pwfn.clustering.rounds.unassigned import UnassignedWeights
from pwfn.clustering.sigma_join import SigmaJoin, std_mu
from pwfn.errors import require


@dataclass(frozen=True)
class _Settings:
    """Hold the settings of one round; the codebook checks its own."""

    fraction: float
    threshold: float
    inc: float
    zero_fix: bool
    gain: Gain
    least: float

    def __post_init__(self) -> None:
        require(
            self,
            fraction=(0 < self.fraction <= 1, "above 0 and at most 1"),
            threshold=(0 < self.threshold < math.inf, "a number above 0"),
            inc=(1 < self.inc < math.inf, "a number above 1 (or the threshold would never grow)"),
            least=(0 <= self.least < math.inf, "a number from 0"),
        )


def cluster_round(
    mu: Tensor,
    sigma: Tensor,
    *,
    fraction: float,
    threshold: float = 1.0,
    inc: float = 2.0,
    zero_fix: bool = True,
    gain: Gain = most_weights,
    least: float = 0.0,
    codebook: Codebook = AdditivePow2(),  # noqa: B008  # frozen
    sizes: Sequence[int] = (),
    sigma_join: SigmaJoin = std_mu,
    tolerance: Tensor | None = None,
) -> ClusterResult:
    """Move exactly `ceil(fraction * N)` of N weights onto codebook values; ties: the smaller value, index.

    Args:
        mu: Means, floating [N], on any device; not changed. Intervals are computed in float64.
        sigma: Standard deviations, of the shape and dtype of `mu`; not changed.
        fraction: Share of all weights to fix, above 0 and at most 1.
        threshold: How many tolerances a weight may move at first, above 0.
        inc: Factor on the threshold when nothing more can be reached, above 1.
        zero_fix: Whether weights smaller than the smallest power of two always reach zero.
        gain: What a candidate is worth; the largest is taken first.
        least: Candidates that gain less per weight are passed over; halved, below 1 given up, where none is left.
        codebook: Which values there are.
        sizes: Weights of each tensor, for codebooks with values for each; none: all are one tensor.
        sigma_join: The rule for the sigma of a cluster's members.
        tolerance: What the threshold counts, of the shape and dtype of `mu`; None: sigma.

    Returns:
        The new weights and the clusters, on the CPU.

    Raises:
        ValueError: For weights or tolerances that cannot be clustered, and for settings out of range.
    """
    settings = _Settings(fraction, threshold, inc, zero_fix, gain, least)
    return _cluster(RoundInput.checked(mu, sigma, tolerance), settings, codebook, sizes, sigma_join)


@in_one_thread()
def _cluster(
    given: RoundInput, settings: _Settings, codebook: Codebook, sizes: Sequence[int], sigma_join: SigmaJoin
) -> ClusterResult:
    """Assign weights greedily, then move them."""
    values = codebook.fit(given.mu, sizes)
    values.check(given.lowest, given.highest)
    weights = UnassignedWeights(given.mu, given.tolerance, values.sizes)
    clusters, found, k = _assign(weights, given.largest_tolerance, settings, values)
    del weights  # its index is as long as the weights
    mu, sigma, in_use = move_weights(given.mu, given.sigma, clusters, found.to(given.mu.dtype), sigma_join)
    return ClusterResult(mu, sigma, clusters, in_use, k, values)


@dataclass
class _Progress:
    """Note how far a round is: `todo` weights are left to assign, `taken` are its clusters' candidates."""

    todo: int
    order: int = 1
    tick: int = 1
    taken: list[int] = field(default_factory=list)


def _assign(
    weights: UnassignedWeights, largest_tolerance: float, settings: _Settings, values: Values
) -> tuple[Tensor, Tensor, float]:
    """Return the cluster of every weight (int32 [N]), the clusters' values (float64), and the final k."""
    clusters = torch.full(weights.mu.shape, FREE, dtype=torch.int32)
    rule = GainRule(settings.gain, settings.least)
    progress = _Progress(math.ceil(settings.fraction * len(weights)))
    k = settings.threshold
    while True:
        candidates = values.candidates_at(k, settings.zero_fix)
        intervals = Intervals(weights, candidates, largest_tolerance)
        taken_before = len(progress.taken)
        done = _cover(intervals, values, rule, progress)
        _write(clusters, intervals, progress)
        if done:
            return clusters, torch.tensor([candidates.value(i) for i in progress.taken], dtype=torch.float64), k
        intervals.keep_free()
        k *= settings.inc
        if intervals.cover.passed_over and len(progress.taken) == taken_before:
            rule.least = rule.least / 2 if rule.least >= 2 else 0.0


def _cover(intervals: Intervals, values: Values, rule: GainRule, progress: _Progress) -> bool:
    """Make the passes at one threshold, of at most two orders; return whether the round is done."""
    cover, limit = intervals.cover, intervals.limit
    while True:
        on_offer = values.indices(progress.order, limit)
        taken, progress.todo = cover.take(on_offer, progress.todo, len(progress.taken), rule)
        progress.taken += taken
        done = progress.todo == 0 or bool((cover.cluster == CUT_SHORT).any())
        grow_order = progress.order < values.max_order and progress.tick % 2 == 1
        progress.tick += 1
        if done or not grow_order:
            return done
        progress.order += 1
        limit = intervals.free_limit()


def _write(clusters: Tensor, intervals: Intervals, progress: _Progress) -> None:
    """Write the clusters of one threshold; of one cut short only the `todo` nearest are taken."""
    cluster = intervals.cover.cluster
    outcome = intervals.per_weight(cluster.clamp(min=FREE).to(torch.int32))
    weights = intervals.weights
    for chunk in weights.slices:
        clusters[chunk if weights.index is None else weights.index[chunk]] = outcome(chunk)
    is_cut = cluster == CUT_SHORT
    if bool(is_cut.any()):
        nearest = nearest_members(intervals, is_cut, progress.taken[-1], progress.todo)
        clusters[nearest] = len(progress.taken) - 1
