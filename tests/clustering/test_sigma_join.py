"""Every sigma_join rule: on one cluster, and through a clustering round that has several."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pwfn.clustering import sigma_join
from pwfn.clustering.codebooks.codebook import AdditivePow2
from pwfn.clustering.rounds.greedy_round import cluster_round
from tests.support import oracles

RULES = sorted(oracles.SIGMA_JOINS)


def test_the_oracle_knows_every_rule() -> None:
    made = {name for name, value in vars(sigma_join).items() if isinstance(value, sigma_join.SigmaJoin)}
    assert made == set(RULES)


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("n", [1, 2, 57])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rule_on_one_cluster(name: str, n: int, dtype: torch.dtype) -> None:
    numbers = torch.Generator().manual_seed(n)
    mu = 0.25 + 0.01 * torch.randn(n, generator=numbers, dtype=dtype)
    sigma = 0.05 * torch.rand(n, generator=numbers, dtype=dtype)
    made = getattr(sigma_join, name)(mu, sigma)
    expected = oracles.SIGMA_JOINS[name](mu.double().numpy(), sigma.double().numpy())
    assert made.dtype == dtype
    assert made.shape == sigma.shape
    torch.testing.assert_close(made, torch.from_numpy(np.array(expected)).to(dtype), rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", RULES)
def test_only_allow_retraining_retrains(name: str) -> None:
    assert getattr(sigma_join, name).retrain == (name == "allow_retraining")


def test_paper_values() -> None:
    mu, sigma = torch.tensor([0.1, 0.3]), torch.tensor([0.01, 0.01])
    torch.testing.assert_close(sigma_join.std_mu(mu, sigma), torch.tensor([0.1, 0.1]))
    torch.testing.assert_close(sigma_join.mean_sigma(mu, sigma), sigma)  # a mean of sigmas, not one over it
    torch.testing.assert_close(sigma_join.mean_sigma(mu, torch.tensor([0.3, 0.4])), torch.full((2,), 0.125**0.5))
    assert torch.equal(sigma_join.allow_retraining(mu, sigma), sigma)


@pytest.mark.parametrize("name", ["std_mu", "mean_sigma"])
def test_a_spread_far_smaller_than_the_value_is_not_lost_in_float32(name: str) -> None:
    mu = 1 + torch.tensor([0, 1, 2, 3]) * 2.0**-23
    sigma = torch.full((4,), 2.0**-10)
    result = cluster_round(mu, sigma, fraction=1.0, sigma_join=getattr(sigma_join, name))
    assert result.mu.tolist() == [1.0] * 4
    expected = {"std_mu": 1.25**0.5 * 2.0**-23, "mean_sigma": 2.0**-10}[name]
    torch.testing.assert_close(result.sigma, torch.full((4,), expected), rtol=1e-6, atol=0)


def test_clusters_on_the_same_centroid_in_two_passes_are_joined_apart() -> None:
    # at k = 1 the first two reach 0.5; the others only at k = 4, where 0.5 is taken again
    mu = torch.tensor([0.5, 0.5 + 2.0**-9, 0.53125, 0.5 + 2.0**-5 + 2.0**-8], dtype=torch.float64)
    sigma = torch.tensor([2.0**-9, 2.0**-9, 1.5 * 2.0**-7, 1.5 * 2.0**-7], dtype=torch.float64)
    result = cluster_round(mu, sigma, fraction=1.0, codebook=AdditivePow2(2, 1))
    assert result.mu.tolist() == [0.5] * 4
    assert result.threshold == 4.0
    assert result.codebook.tolist() == [0.5]
    assert result.assignment.tolist() == [0] * 4
    expected = torch.tensor([2.0**-10, 2.0**-10, 2.0**-9, 2.0**-9], dtype=torch.float64)
    torch.testing.assert_close(result.sigma, expected, rtol=1e-12, atol=0)
