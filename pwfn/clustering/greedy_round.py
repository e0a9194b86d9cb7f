"""One clustering round: which weight moves onto which centroid (Subia-Waud and Dasmahapatra 2023, section 3).

A weight reaches the centroids with `|mu - c| <= k * max(sigma, 2^-20)`, and the centroid that most free weights reach
(or, by choice, the one that saves most bits) is taken first. No candidates x weights matrix is built: the weights are
passed over once per threshold to make a histogram (`pwfn.clustering.intervals`), the greedy choice runs on the histogram
(`pwfn.clustering.greedy_cover`), and one look-up assigns the weights. Only those still free are looked at again. `docs/clustering.md` has
the figures.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pwfn.clustering.chunking import chunks, in_one_thread, look_up
from pwfn.clustering.cluster_moments import grouped_moments
from pwfn.clustering.codebook import AdditivePow2, Codebook, Values
from pwfn.clustering.cutoff import nearest
from pwfn.clustering.greedy_cover import CUT_SHORT, FREE, Worth, most_weights
from pwfn.clustering.intervals import Reach
from pwfn.clustering.sigma_join import RootMeanSquare, SigmaJoin, std_mu
from pwfn.clustering.unassigned import FreeWeights
from pwfn.errors import require


@dataclass(frozen=True)
class ClusterResult:
    """What a round did to N weights; `mu` and `sigma` in the dtype and on the device of the input.

    `assignment` [N] int32 holds indices into `codebook` (the sorted values in use), -1 = free. `threshold` is the final
    k: how many sigmas (or tolerances) the last weights were allowed to move. `values` are those that were on offer: with
    them for a codebook, the next round gives fixed weights the values they have.
    """

    mu: Tensor
    sigma: Tensor
    assignment: Tensor
    codebook: Tensor
    threshold: float
    values: Values | None = None


@dataclass(frozen=True)
class _Round:
    """The settings of one round; the codebook checks its own."""

    fraction: float
    threshold: float
    inc: float
    zero_fix: bool
    worth: Worth
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
    worth: Worth = most_weights,
    least: float = 0.0,
    codebook: Codebook = AdditivePow2(),  # noqa: B008  # frozen
    sizes: Sequence[int] = (),
    sigma_join: SigmaJoin = std_mu,
    tolerance: Tensor | None = None,
) -> ClusterResult:
    """Move exactly `ceil(fraction * N)` of N weights onto values of the codebook, those that are worth most first.

    `mu` and `sigma` are flat, equally long, of one floating dtype (half types are computed in float32), and are not
    changed. The threshold starts at `threshold` and grows by the factor `inc` when nothing more can be reached; it counts
    sigmas or, where `tolerance` (like sigma) is given, tolerances. Sigma is then only joined. Values that are worth less
    than `least` for each weight they catch are passed over; where that leaves nothing to take at a threshold, `least` is
    halved, below 1 it is given up. `sizes` are the weights of each tensor, for codebooks that have values for each (none:
    all are one tensor).
    Deterministic: ties go to the smaller centroid and, in the cluster that is cut short, to the smaller index.
    Raises ValueError for NaN, infinite or all-zero mu, for mu too large for the codebook, for NaN, infinite or negative
    sigma or tolerance, and for settings out of range.
    """
    settings = _Round(fraction, threshold, inc, zero_fix, worth, least)
    low, high, largest_unit = check_weights(mu, sigma, tolerance)
    tolerance = sigma if tolerance is None else tolerance
    with in_one_thread():
        mu, sigma, tolerance = mu.detach(), sigma.detach(), tolerance.detach()
        values = codebook.made_for(mu, sizes)
        values.check(low, high)
        clusters, found, k = _assign(FreeWeights(mu, tolerance, values.sizes), largest_unit, settings, values)
        new_mu, new_sigma, in_use = move(mu, sigma, clusters, found.to(mu.dtype), sigma_join)
    return ClusterResult(new_mu, new_sigma, clusters, in_use, k, values)


def check_weights(mu: Tensor, sigma: Tensor, tolerance: Tensor | None) -> tuple[float, float, float]:
    """Smallest and largest mu, and the largest tolerance (None: sigma).

    Raises ValueError, in one line, for what cannot be clustered.
    """
    if mu.ndim != 1 or mu.shape != sigma.shape or mu.numel() == 0:
        shapes = f"{tuple(mu.shape)} and {tuple(sigma.shape)}"
        raise ValueError(f"mu and sigma must be flat, equally long and not empty, their shapes are {shapes}")
    if mu.dtype != sigma.dtype or not mu.dtype.is_floating_point:
        raise ValueError(f"mu and sigma must have the same floating dtype, theirs are {mu.dtype} and {sigma.dtype}")
    low, high, low_sigma, high_sigma = map(
        float, torch.stack([*mu.detach().aminmax(), *sigma.detach().aminmax()]).tolist()
    )
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError(f"mu must be finite, its smallest value is {low} and its largest {high}")
    if low == high == 0:
        raise ValueError("mu must not be zero everywhere: there is nothing to cluster")
    if not (low_sigma >= 0 and math.isfinite(high_sigma)):
        values = f"its smallest value is {low_sigma} and its largest {high_sigma}"
        raise ValueError(f"sigma must be finite and not negative, {values}")
    return low, high, high_sigma if tolerance is None or tolerance is sigma else _check_tolerance(mu, tolerance)


def _check_tolerance(mu: Tensor, tolerance: Tensor) -> float:
    """The largest tolerance. Raises ValueError for one that no weight could be measured by."""
    if tolerance.shape != mu.shape or tolerance.dtype != mu.dtype:
        given, expected = (f"{tuple(t.shape)} of {t.dtype}" for t in (tolerance, mu))
        raise ValueError(f"the tolerance must have the shape and dtype of mu, {expected}; it is {given}")
    low, high = map(float, torch.stack(tolerance.detach().aminmax()).tolist())
    if not (low >= 0 and math.isfinite(high)):
        raise ValueError(f"the tolerance must be finite and not negative, its smallest is {low} and its largest {high}")
    return high


def _assign(
    weights: FreeWeights, largest_unit: float, settings: _Round, values: Values
) -> tuple[Tensor, Tensor, float]:
    """The greedy passes: the cluster of every weight [N] int32, the clusters' values (float64), the final k."""
    device = weights.mu.device
    clusters = torch.full(weights.mu.shape, FREE, dtype=torch.int32, device=device)
    points: list[int] = []  # of the clusters
    caught: dict[int, int] = {}
    todo = math.ceil(settings.fraction * len(weights))
    k, least, order, tick = settings.threshold, settings.least, 1, 1
    while True:
        taken_before = len(points)
        axis = values.axis(k, settings.zero_fix, device)
        reach = Reach(weights, axis, largest_unit)
        limit = reach.limit
        while True:  # the passes at this k: at most two orders share it
            on_offer = values.points(order, limit)
            taken, todo = reach.cover.take(on_offer, todo, len(points), settings.worth, caught, least)
            points += taken
            done = todo == 0 or bool((reach.cover.cluster == CUT_SHORT).any())
            grow_order = order < values.max_order and tick % 2 == 1
            tick += 1
            if done or not grow_order:
                break
            order += 1
            limit = reach.free_limit()
        _write(clusters, reach, points, todo)
        if done:
            found = torch.tensor([axis.value(point) for point in points], dtype=torch.float64, device=device)
            return clusters, found, k
        reach.keep_free()
        k *= settings.inc
        if reach.cover.passed_over and len(points) == taken_before:
            least = least / 2 if least >= 2 else 0.0


def _write(clusters: Tensor, reach: Reach, points: list[int], todo: int) -> None:
    """Carry the outcome at one threshold to `clusters`; of a cluster cut short only the `todo` nearest are taken."""
    cut_short = reach.cover.cluster == CUT_SHORT
    chosen = nearest(reach, cut_short, points[-1], todo) if bool(cut_short.any()) else None
    outcome = reach.outcome(reach.cover.cluster.clamp(min=FREE).to(torch.int32))
    last = len(points) - 1
    for part in reach.weights.parts:
        cluster = outcome(part)
        if chosen is not None:
            cluster.add_(chosen[part], alpha=last - FREE)
        if reach.weights.index is None:
            clusters[part] = cluster
        else:
            clusters.scatter_(0, reach.weights.index[part].to(torch.int64), cluster)


def move(mu: Tensor, sigma: Tensor, clusters: Tensor, values: Tensor, rule: SigmaJoin) -> tuple[Tensor, Tensor, Tensor]:
    """New mu and sigma of every weight, and the codebook; `clusters` (-1 = free) becomes the assignment.

    `values` are those of the clusters, each of which has members. The same centroid may have been taken at several thresholds: clusters are joined apart, then numbered by value.
    """
    codebook, numbers = torch.unique(values, return_inverse=True)
    # Row 0 is for the free weights, whose cluster is -1. To them -0.0 is added, which changes no bit of any number.
    nothing = values.new_tensor([-0.0])
    number = torch.cat([numbers.new_tensor([FREE]), numbers]).to(torch.int32)
    kept = (number == FREE).to(mu.dtype)
    value = torch.cat([nothing, values])
    joined = None
    if isinstance(rule, RootMeanSquare):
        joined = torch.cat([nothing, _joined_sigma(mu, sigma, clusters, values.numel(), rule)])
    new_mu, new_sigma = torch.empty_like(mu), torch.empty_like(sigma)
    for part in chunks(mu.numel(), mu.device):
        row = clusters[part] - FREE
        is_free = look_up(kept, row)
        torch.addcmul(look_up(value, row), mu[part], is_free, out=new_mu[part])
        if joined is not None:
            torch.addcmul(look_up(joined, row), sigma[part], is_free, out=new_sigma[part])
        else:
            new_sigma[part] = torch.where(row == 0, sigma[part], rule(mu[part], sigma[part]))
        clusters[part] = look_up(number, row)
    return new_mu, new_sigma, codebook


def _joined_sigma(mu: Tensor, sigma: Tensor, clusters: Tensor, n: int, rule: RootMeanSquare) -> Tensor:
    """The sigma that the members of each of the n clusters get, in the dtype of sigma."""
    mean, variance = grouped_moments(clusters, n, lambda part: rule.quantity(mu[part], sigma[part]).double())
    return rule.joined(mean, variance).to(sigma.dtype)
