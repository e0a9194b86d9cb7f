"""Every weight to the nearest value, those with the shortest way first."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from pwfn.clustering import sigma_join
from pwfn.clustering.codebooks.codebook import AdditivePow2, Codebook, Pow2
from pwfn.clustering.codebooks.fitted_codebook import KMeans, Uniform
from pwfn.clustering.rounds.nearest_round import nearest_round
from pwfn.errors import InvalidValueError
from tests.support import oracles
from tests.support.heavy_tails import MADE, sizes_of, weights


def naive_nearest(x: float, table: list[float]) -> float:
    return min(table, key=lambda value: (abs(x - value), value))


@pytest.mark.parametrize("codebook", [*MADE, Pow2(6), AdditivePow2(6, 3)], ids=repr)
@pytest.mark.parametrize("fraction", [0.3, 1.0])
def test_nearest_takes_the_shortest_ways_first(codebook: Codebook, fraction: float) -> None:
    mu, sigma = (x.double() for x in weights(400))
    sizes = sizes_of(400)
    result = nearest_round(mu, sigma, fraction=fraction, codebook=codebook, sizes=sizes)
    largest = float(mu.abs().max())
    if isinstance(codebook, AdditivePow2 | Pow2):  # their values go on above the largest weight
        tables = [list(oracles.candidates(codebook.max_order, codebook.b, 2 * largest))]
    else:
        tables = [table.tolist() for table in codebook.fit(mu, sizes).tables(largest)]
    of = np.repeat(np.arange(3), sizes) if len(tables) > 1 else np.zeros(400, dtype=int)
    goals = [naive_nearest(x, tables[t]) for x, t in zip(mu.tolist(), of, strict=True)]
    ways = [abs(x - g) / max(s, 2.0**-20) for x, g, s in zip(mu.tolist(), goals, sigma.tolist(), strict=True)]
    taken = sorted(sorted(range(400), key=lambda i: (ways[i], i))[: math.ceil(fraction * 400)])
    assert (result.assignment >= 0).nonzero().flatten().tolist() == taken
    assert [result.mu[i].item() for i in taken] == [goals[i] for i in taken]
    assert result.codebook.tolist() == sorted({goals[i] for i in taken})
    assert result.threshold == max(ways[i] for i in taken)
    assert torch.equal(result.mu[taken], result.codebook[result.assignment[taken].long()])
    free = result.assignment < 0
    assert torch.equal(result.mu[free], mu[free])
    assert torch.equal(result.sigma[free], sigma[free])


def test_the_largest_weight_goes_up_where_that_is_nearer() -> None:
    mu = torch.tensor([0.98, 0.8, 0.1, -0.3])
    result = nearest_round(mu, torch.full_like(mu, 0.01), fraction=1.0, codebook=Pow2(7))
    assert result.mu.tolist() == [1.0, 1.0, 0.125, -0.25]


def test_kmeans_at_once_is_each_weight_at_the_nearest_centre_of_the_optimum() -> None:
    mu, sigma = weights(150)
    found, counts = np.unique(mu.double().numpy(), return_counts=True)
    centers = np.array(oracles.kmeans(found.tolist(), counts.tolist(), 16))
    result = nearest_round(mu, sigma, fraction=1.0, codebook=KMeans(16))
    expected = [naive_nearest(x, centers.tolist()) for x in mu.double().tolist()]
    assert result.mu.tolist() == pytest.approx(expected, rel=1e-6, abs=1e-9)
    assert result.codebook.numel() == 16
    assert not (result.assignment < 0).any()


@pytest.mark.parametrize("rule", sorted(oracles.SIGMA_JOINS))
def test_nearest_joins_sigmas_as_the_greedy_rounds_do(rule: str) -> None:
    mu, sigma = (x.double() for x in weights(300))
    result = nearest_round(mu, sigma, fraction=0.7, codebook=KMeans(4), sigma_join=getattr(sigma_join, rule))
    for number in range(result.codebook.numel()):
        members = (result.assignment == number).numpy()
        expected = oracles.SIGMA_JOINS[rule](mu.numpy()[members], sigma.numpy()[members])
        np.testing.assert_allclose(result.sigma.numpy()[members], expected, rtol=1e-9)


def test_a_tolerance_instead_of_sigma_decides_who_is_near() -> None:
    mu, sigma = torch.tensor([0.1, 1.2, -1.3]), torch.ones(3)
    tolerance = torch.tensor([1e-3, 1.0, 10.0])
    result = nearest_round(mu, sigma, fraction=1 / 3, codebook=Uniform(2, 1.0), tolerance=tolerance)
    assert (result.assignment >= 0).tolist() == [False, False, True]
    assert result.threshold < 1e-5


@pytest.mark.parametrize("fraction", [0.0, 1.5, float("nan")])
def test_nearest_refuses_a_fraction_out_of_range(fraction: float) -> None:
    with pytest.raises(InvalidValueError, match=r"fraction = .*: must be above 0 and at most 1"):
        nearest_round(*weights(20), fraction=fraction, codebook=KMeans(2))
