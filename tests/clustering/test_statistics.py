"""Counting against loops, entropy against scipy."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import entropy
from torch import Tensor

from pwfn.clustering import statistics
from pwfn.clustering.cluster_result import ClusterResult
from pwfn.clustering.codebooks.orders import order_of
from pwfn.clustering.rounds.greedy_round import cluster_round
from tests.support import oracles

SETTINGS = settings(deadline=None, derandomize=True, max_examples=150)


@SETTINGS
@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=40).filter(any))
def test_entropy_is_scipys_in_bits(counts: list[int]) -> None:
    assert statistics.entropy_bits(torch.tensor(counts)) == pytest.approx(
        float(entropy(counts, base=2)), rel=1e-9, abs=1e-12
    )


@pytest.mark.parametrize(
    ("counts", "bits"), [([7], 0.0), ([0, 3, 0], 0.0), ([1, 1], 1.0), ([2, 1, 1], 1.5), ([5] * 64, 6.0)]
)
def test_entropy_of_known_distributions(counts: list[int], bits: float) -> None:
    assert statistics.entropy_bits(torch.tensor(counts)) == bits


VALUES = (0.0, -0.0, 0.5, -0.5, 0.1, 1e-40, -1e-40, 0.1 + 1e-9, -0.1, -0.1 - 1e-9, 3e38, -3e38, -7.0)


@SETTINGS
@given(
    st.lists(st.sampled_from(VALUES), min_size=1, max_size=30),
    st.sampled_from((torch.float32, torch.float64, torch.bfloat16)),
)
def test_value_counts_are_those_of_a_counter(values: list[float], dtype: torch.dtype) -> None:
    weights = torch.tensor(values, dtype=dtype)
    made, counts = statistics.value_counts(weights)
    assert made.dtype == dtype
    assert counts.dtype == torch.int64
    expected = Counter(weights.tolist())
    assert dict(zip(made.tolist(), counts.tolist(), strict=True)) == expected
    assert made.tolist() == sorted(expected)
    assert not any(np.signbit(v) for v in made.tolist() if v == 0)
    assert statistics.entropy_bits(counts) == pytest.approx(oracles.entropy_bits(weights.tolist()), abs=1e-12)


def clustered(fraction: float) -> tuple[Tensor, Tensor, ClusterResult]:
    numbers = torch.Generator().manual_seed(5)
    mu = 0.1 * torch.randn(700, generator=numbers)
    mu[::50] = 0.25  # free weights may sit on a codebook value, too
    mu[::70] = -0.0
    sigma = 0.02 * torch.rand(700, generator=numbers)
    return mu, sigma, cluster_round(mu, sigma, fraction=fraction)


@pytest.mark.parametrize("fraction", [0.001, 0.3, 0.9, 1.0])
def test_network_values_are_the_value_counts_of_mu(fraction: float) -> None:
    _, _, result = clustered(fraction)
    values, counts = statistics.network_values(result.mu, result.assignment, result.codebook)
    expected_values, expected_counts = statistics.value_counts(result.mu)
    assert torch.equal(values, expected_values)
    assert torch.equal(counts, expected_counts)
    assert dict(zip(values.tolist(), counts.tolist(), strict=True)) == Counter(result.mu.tolist())


@pytest.mark.parametrize("fraction", [0.001, 0.3, 0.9, 1.0])
def test_cluster_rows_are_those_of_a_loop(fraction: float) -> None:
    mu, sigma, result = clustered(fraction)
    rows = statistics.cluster_rows(mu, sigma, result.assignment, result.codebook, order_of(result.codebook, 7))
    assert len(rows) == len(result.codebook)
    for index, (row, value) in enumerate(zip(rows, result.codebook.tolist(), strict=True)):
        members = (result.assignment == index).numpy()
        mus, sigmas = mu.double().numpy()[members], sigma.double().numpy()[members]
        assert list(row) == ["value", "order", "count", "mu_std", "sigma_mean", "sigma_max"]
        assert (row["value"], row["order"], row["count"]) == (value, oracles.order_of(value, 7), members.sum())
        assert row["mu_std"] == pytest.approx(np.std(mus), rel=1e-9, abs=1e-15)
        assert row["sigma_mean"] == pytest.approx(np.mean(sigmas), rel=1e-12)
        assert row["sigma_max"] == np.max(sigmas)


@pytest.mark.parametrize("fraction", [0.3, 1.0])
def test_order_shares_are_shares_of_all_weights(fraction: float) -> None:
    mu, sigma, result = clustered(fraction)
    shares = statistics.order_shares(
        statistics.cluster_rows(mu, sigma, result.assignment, result.codebook, order_of(result.codebook, 7)), 700
    )
    fixed = result.mu[result.assignment >= 0].tolist()
    orders = Counter(oracles.order_of(value, 7) for value in fixed)
    assert shares == pytest.approx([orders[n] / 700 for n in range(5)], rel=1e-12)
    assert sum(shares) == pytest.approx(fraction, rel=1e-12)
    assert sum(share > 0 for share in shares) >= 2
