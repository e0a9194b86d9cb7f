"""One clustering round: which weight moves onto which centroid (Subia-Waud and Dasmahapatra 2023, section 3).

A weight reaches the centroids with `|mu - c| <= k * max(sigma, 2^-20)`, and the centroid that most free weights reach is
taken first. No candidates x weights matrix is built: the weights are passed over once per threshold to make a histogram
(`pwfn.reach`), the greedy choice runs on the histogram (`pwfn.greedy`), and one look-up assigns the weights. Only those
still free are looked at again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pwfn.codebook import AdditivePow2
from pwfn.faults import require
from pwfn.greedy import CUT_SHORT, FREE
from pwfn.reach import MAX_LIMIT_BITS, MIN_REACH_SIGMA, Grid, Reach, chunks
from pwfn.sigma_join import RootMeanSquare, SigmaJoin, std_mu


@dataclass(frozen=True)
class ClusterResult:
    """What a round did to N weights; `mu` and `sigma` in the dtype and on the device of the input.

    `assignment` [N] int32 holds indices into `codebook` (the sorted values in use), -1 = free. `threshold` is the final
    k: how many sigmas the last weights were allowed to move.
    """

    mu: Tensor
    sigma: Tensor
    assignment: Tensor
    codebook: Tensor
    threshold: float


@dataclass(frozen=True)
class _Round:
    """The settings of one round; `AdditivePow2` checks those of the codebook."""

    fraction: float
    threshold: float
    inc: float
    zero_fix: bool

    def __post_init__(self) -> None:
        require(
            self,
            fraction=(0 < self.fraction <= 1, "above 0 and at most 1"),
            threshold=(0 < self.threshold < math.inf, "a number above 0"),
            inc=(1 < self.inc < math.inf, "a number above 1 (or the threshold would never grow)"),
        )


def cluster_round(
    mu: Tensor,
    sigma: Tensor,
    *,
    fraction: float,
    threshold: float = 1.0,
    inc: float = 2.0,
    b: int = 7,
    max_order: int = 4,
    zero_fix: bool = True,
    sigma_join: SigmaJoin = std_mu,
) -> ClusterResult:
    """Move exactly `ceil(fraction * N)` of N weights onto sums of at most `max_order` powers of two.

    `mu` and `sigma` are flat, equally long, of one floating dtype (half types are computed in float32), and are not
    changed. The threshold starts at `threshold` sigmas and grows by the factor `inc` when nothing more can be reached.
    Deterministic: ties go to the smaller centroid and, in the cluster that is cut short, to the smaller index.
    Raises ValueError for NaN, infinite or all-zero mu, for mu of magnitude 2^(30 - b) or more, for NaN, infinite or
    negative sigma, and for settings out of range.
    """
    settings = _Round(fraction, threshold, inc, zero_fix)
    codebook = AdditivePow2(b, max_order)
    check_weights(mu, sigma, b)
    work = torch.float64 if mu.dtype == torch.float64 else torch.float32
    flat_mu, flat_sigma = mu.detach().to(work), sigma.detach().to(work)
    clusters, values, k = _assign(flat_mu, flat_sigma, settings, codebook)
    # The same centroid may have been taken in several passes: clusters are joined apart, then numbered by value.
    new_mu, new_sigma = _move(flat_mu, flat_sigma, clusters, values.to(work), sigma_join)
    in_use, index = torch.unique(values.to(mu.dtype), return_inverse=True)
    table = torch.cat([index, index.new_tensor([FREE])]).to(torch.int32)  # FREE = -1 finds the last entry
    for part in chunks(clusters.numel()):
        clusters[part] = table[clusters[part]]
    return ClusterResult(new_mu.to(mu.dtype), new_sigma.to(mu.dtype), clusters, in_use, k)


def check_weights(mu: Tensor, sigma: Tensor, b: int) -> None:
    """Raise ValueError, in one line, for weights that cannot be clustered."""
    if mu.ndim != 1 or mu.shape != sigma.shape or mu.numel() == 0:
        shapes = f"{tuple(mu.shape)} and {tuple(sigma.shape)}"
        raise ValueError(f"mu and sigma must be flat, equally long and not empty, their shapes are {shapes}")
    if mu.dtype != sigma.dtype or not mu.dtype.is_floating_point:
        raise ValueError(f"mu and sigma must have the same floating dtype, theirs are {mu.dtype} and {sigma.dtype}")
    low, high = (x.item() for x in mu.detach().aminmax())
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError(f"mu must be finite, its smallest value is {low} and its largest {high}")
    if low == high == 0:
        raise ValueError("mu must not be zero everywhere: there is nothing to cluster")
    bound = 2.0 ** (MAX_LIMIT_BITS - b)
    if max(-low, high) >= bound:
        raise ValueError(f"mu must be smaller than {bound:g} in magnitude where b = {b}; it goes from {low} to {high}")
    low, high = (x.item() for x in sigma.detach().aminmax())
    if not (low >= 0 and math.isfinite(high)):
        raise ValueError(f"sigma must be finite and not negative, its smallest value is {low} and its largest {high}")


def _assign(mu: Tensor, sigma: Tensor, settings: _Round, codebook: AdditivePow2) -> tuple[Tensor, Tensor, float]:
    """The greedy passes: the cluster of every weight [N] int32, the clusters' values (float64), the final k."""
    clusters = torch.full(mu.shape, FREE, dtype=torch.int32, device=mu.device)
    numerators: list[int] = []
    todo = math.ceil(settings.fraction * mu.numel())
    k, order, tick = settings.threshold, 1, 1
    index: Tensor | None = None  # positions of the free weights in the input; None while all are free
    while True:
        reach = Reach(mu, sigma, Grid(codebook.step, k, settings.zero_fix))
        limit = reach.limit
        while True:  # the passes at this k: at most two orders share it
            taken, todo = reach.cover.take(codebook.numerators(order, limit), todo, len(numerators))
            numerators += taken
            done = todo == 0 or bool((reach.cover.cluster == CUT_SHORT).any())
            grow_order = order < codebook.max_order and tick % 2 == 1
            tick += 1
            if done or not grow_order:
                break
            order += 1
            limit = _free_limit(mu, reach, codebook.step)
        _write(clusters, index, mu, sigma, reach, todo, numerators, codebook.step)
        if done:
            values = torch.tensor(numerators, dtype=torch.float64, device=mu.device) * codebook.step
            return clusters, values, k
        mu, sigma, index = _still_free(mu, sigma, index, reach)
        k *= settings.inc


def _free_limit(mu: Tensor, reach: Reach, step: float) -> int:
    """The largest magnitude over the weights that are still free, in grid steps."""
    largest = mu.new_zeros(())
    for part, cluster in reach.clusters():
        largest = torch.maximum(largest, torch.where(cluster == FREE, mu[part].abs(), 0).max())
    return int(largest.item() / step)


def _still_free(mu: Tensor, sigma: Tensor, index: Tensor | None, reach: Reach) -> tuple[Tensor, Tensor, Tensor]:
    """`mu`, `sigma` and positions of the weights that nobody has taken at this threshold."""
    free = torch.cat(
        [(cluster == FREE).nonzero().flatten().to(torch.int32) + part.start for part, cluster in reach.clusters()]
    )
    return mu[free], sigma[free], free if index is None else index[free]


def _write(
    clusters: Tensor,
    index: Tensor | None,
    mu: Tensor,
    sigma: Tensor,
    reach: Reach,
    todo: int,
    numerators: list[int],
    step: float,
) -> None:
    """Carry the outcome at one threshold to `clusters`; of a cluster cut short only the `todo` nearest are taken."""
    cut: list[Tensor] = []
    for part, cluster in reach.clusters():
        cut.append((cluster == CUT_SHORT).nonzero().flatten() + part.start)
        clusters[part if index is None else index[part]] = cluster
    members = torch.cat(cut)
    if members.numel() == 0:
        return
    last = len(numerators) - 1
    chosen = _nearest(mu[members], sigma[members], numerators[last] * step, todo, reach.grid)
    positions = members if index is None else index[members]
    clusters[positions] = torch.where(chosen, last, FREE).to(torch.int32)


def _nearest(mu: Tensor, sigma: Tensor, centroid: float, n: int, grid: Grid) -> Tensor:
    """Mask of the n members nearest to the centroid in `|mu - c| / sigma`, those that zero_fix puts at distance 0 first."""
    distance = (mu - centroid).abs() / sigma.clamp(min=MIN_REACH_SIGMA)
    if grid.zero_fix and centroid == 0:
        tiny = mu.abs() < grid.step
        if n > (fixed := int(tiny.sum())):
            return tiny | ~tiny & _smallest(torch.where(tiny, torch.inf, distance), n - fixed)
        distance = torch.where(tiny, distance, torch.inf)
    return _smallest(distance, n)


def _smallest(values: Tensor, n: int) -> Tensor:
    """Mask of the n smallest values; among equal ones those of smaller index."""
    border = values.kthvalue(n).values
    mask = values < border
    ties = (values == border).nonzero().flatten()
    mask[ties[: n - int(mask.sum())]] = True
    return mask


def _move(mu: Tensor, sigma: Tensor, clusters: Tensor, values: Tensor, sigma_join: SigmaJoin) -> tuple[Tensor, Tensor]:
    """New mu and sigma of every weight: those of a cluster on its value and with its joined sigma, the others as they are."""
    new_mu, new_sigma = torch.empty_like(mu), torch.empty_like(sigma)
    joined = _joined_sigma(mu, sigma, clusters, values, sigma_join) if isinstance(sigma_join, RootMeanSquare) else None
    for part in chunks(mu.numel()):
        cluster = clusters[part]
        free = cluster < 0
        new_mu[part] = torch.where(free, mu[part], values[cluster])
        moved = sigma_join(mu[part], sigma[part]) if joined is None else joined[cluster]
        new_sigma[part] = torch.where(free, sigma[part], moved)
    return new_mu, new_sigma


def _joined_sigma(mu: Tensor, sigma: Tensor, clusters: Tensor, values: Tensor, rule: RootMeanSquare) -> Tensor:
    """The new sigma of every cluster, in the dtype of sigma. Sums run in float64 over deviations from the centroid."""
    bins = values.numel() + 1  # bin 0 gathers the free weights, whose cluster is -1

    def total(weights: Tensor, cluster: Tensor) -> Tensor:
        return torch.bincount(cluster + 1, weights=weights, minlength=bins)[1:]

    count = torch.zeros_like(values, dtype=torch.float64)
    offset = torch.zeros_like(count)
    for part in chunks(mu.numel()):
        cluster = clusters[part]
        count += total(torch.ones_like(cluster, dtype=torch.float64), cluster)
        offset += total((mu[part] - values[cluster]).double(), cluster)
    mean = offset / count
    squares = torch.zeros_like(count)
    for part in chunks(mu.numel()):
        cluster = clusters[part]
        deviation = (mu[part] - values[cluster]).double() - mean[cluster]
        squares += total(rule.quantity(deviation, sigma[part].double()).square(), cluster)
    return (squares / count).sqrt().to(sigma.dtype)
