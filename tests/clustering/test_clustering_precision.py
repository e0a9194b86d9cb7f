"""What the precision of the weights changes: their own rounding, and nothing that the clustering adds to it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from pwfn.bayesian.prior import Pow2DistancePrior
from pwfn.clustering.cluster_result import ClusterResult
from pwfn.clustering.codebooks.candidates import GridCandidates
from pwfn.clustering.rounds.greedy_round import cluster_round
from tests.support import oracles

EPSILON = 2.0**-24  # the relative rounding error of a float32
WEIGHTS, SEEDS = 1_000_000, 8


def normal(seed: int, n: int = WEIGHTS) -> tuple[Tensor, Tensor]:
    """Mu and sigma in float64, whose digits float32 cannot hold."""
    mu = 0.03 * torch.randn(n, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return mu, Pow2DistancePrior()(mu)


def heavy_tailed(seed: int, n: int = WEIGHTS) -> tuple[Tensor, Tensor]:
    mu = torch.from_numpy(0.1 * np.random.default_rng(seed).standard_t(3, n))
    return mu, Pow2DistancePrior()(mu)


def on_the_border(seed: int, n: int = WEIGHTS) -> tuple[Tensor, Tensor]:
    """Each weight has a point of the grid exactly one, two or four sigmas away."""
    generator = torch.Generator().manual_seed(seed)
    whole, between = (torch.randint(-32, 33, (n,), generator=generator).double() for _ in range(2))
    sigma = between.abs().clamp(min=1) / 64 * 2.0**-7 / 2.0 ** torch.randint(0, 3, (n,), generator=generator)
    return (whole + between / 64) * 2.0**-7, sigma


def values(result: ClusterResult) -> Tensor:
    """Where each weight went, NaN where it is free."""
    return result.mu.double().masked_fill(result.assignment < 0, math.nan)


def differing(one: ClusterResult, other: ClusterResult) -> Tensor:
    """Which weights went to another centroid, or to one in only one of both."""
    a, b = values(one), values(other)
    return ((a != b) & ~(a.isnan() & b.isnan())).nonzero().flatten()


@pytest.mark.parametrize("made", [normal, heavy_tailed, on_the_border])
@pytest.mark.parametrize("fraction", [0.2, 0.9, 1.0])
def test_the_same_numbers_go_to_the_same_centroids_in_float32_and_float64(made: object, fraction: float) -> None:
    mu, sigma = (x.float() for x in made(0))  # type: ignore[operator]
    narrow = cluster_round(mu, sigma, fraction=fraction)
    wide = cluster_round(mu.double(), sigma.double(), fraction=fraction)
    assert differing(narrow, wide).numel() == 0
    assert narrow.threshold == wide.threshold
    assert torch.equal(narrow.codebook.double(), wide.codebook)
    assert torch.equal(narrow.assignment, wide.assignment)


@pytest.mark.parametrize("fraction", [0.2, 0.7, 1.0])
def test_float32_goes_where_the_dense_oracle_goes_in_float64(fraction: float) -> None:
    mu, sigma = (x.float() for x in heavy_tailed(0, 4000))
    result = cluster_round(mu, sigma, fraction=fraction)
    wide = mu.double().numpy(), sigma.double().numpy()
    settings = {"threshold": 1.0, "inc": 2.0, "b": 7, "max_order": 4, "zero_fix": True, "rule": "std_mu"}
    _, _, assignment, codebook, k = oracles.cluster_round(*wide, fraction=fraction, **settings)
    assert (result.assignment.tolist(), result.codebook.tolist(), result.threshold) == (assignment, codebook, k)


def reaching_elsewhere(mu: Tensor, sigma: Tensor, k: float) -> int:
    """How many weights reach other centroids once rounded to float32; each must meet the threshold to rounding."""
    grid, limit = GridCandidates(2.0**-7, k, zero_fix=True), int(mu.abs().max() * 2**7)
    (first, last), (rounded_first, rounded_last) = (
        grid.interval(x.double().clone(), y.double().clone(), limit)
        for x, y in ((mu, sigma), (mu.float(), sigma.float()))
    )
    for one, other, point in (
        (first, rounded_first, torch.minimum(first, rounded_first)),  # that only one of both reaches
        (last, rounded_last, torch.maximum(last, rounded_last)),
    ):
        which = one != other
        distance, way = (mu - point / 2**7).abs()[which], k * sigma.clamp(min=2.0**-20)[which]
        assert bool(((distance - way).abs() <= 2 * EPSILON * (mu[which].abs() + way)).all())
        assert bool(((one - other).abs() <= 1).all())
    return int(((first != rounded_first) | (last != rounded_last)).sum())


@pytest.mark.slow
def test_weights_rounded_to_float32_reach_other_centroids_only_where_the_threshold_is_met_to_rounding() -> None:
    different = {k: sum(reaching_elsewhere(*heavy_tailed(seed), k) for seed in range(SEEDS)) for k in (1.0, 3.0, 8.0)}
    assert sum(different.values()) > 0
    assert max(different.values()) <= 3e-6 * WEIGHTS * SEEDS


@pytest.mark.slow
@pytest.mark.parametrize("fraction", [0.9, 1.0])
def test_of_millions_of_weights_rounded_to_float32_a_handful_goes_elsewhere(fraction: float) -> None:
    """Those that reach other centroids, those that a tie between two centroids then moves, and, where the last cluster
    is cut short, one more for each at the cut."""
    different = 0
    for seed in range(SEEDS):
        mu, sigma = heavy_tailed(seed)
        wide, narrow = (cluster_round(*w, fraction=fraction) for w in ((mu, sigma), (mu.float(), sigma.float())))
        assert narrow.threshold == wide.threshold
        assert torch.equal(narrow.codebook.double(), wide.codebook)
        different += differing(narrow, wide).numel()
    assert 0 < different <= 3e-6 * WEIGHTS * SEEDS
