"""Few values for each tensor: the cheapest choice, whatever else a round decided."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pwfn.clustering import AdditivePow2, ClusterResult, cluster_round
from pwfn.clustering.per_tensor_limit import kept_values, limit_result


def cost(values: np.ndarray, mass: np.ndarray, target: np.ndarray) -> float:
    return float((mass * (values - values[target]) ** 2).sum())


def least_cost(values: np.ndarray, mass: np.ndarray, most: int) -> float:
    """By trying every choice."""
    distances = (values[:, None] - values[None, :]) ** 2
    return min(float((mass * distances[:, list(kept)].min(1)).sum()) for kept in combinations(range(len(values)), most))


@given(
    st.lists(st.integers(-50, 50), min_size=2, max_size=9, unique=True),
    st.integers(1, 8),
    st.integers(0, 2**32 - 1),
)
def test_the_cheapest_values_are_kept(numbers: list[int], most: int, seed: int) -> None:
    values = np.array(sorted(numbers)) / 128
    mass = np.random.default_rng(seed).integers(0, 100, len(values)).astype(float)
    target = kept_values(values, mass, most)
    most = min(most, len(values))
    assert len(np.unique(target)) <= most
    assert cost(values, mass, target) == pytest.approx(least_cost(values, mass, most), abs=1e-9)
    kept = np.unique(target)
    nearest = np.abs(values[:, None] - values[kept]).min(1)
    assert np.allclose(np.abs(values - values[target]), nearest)


def test_too_many_values_are_refused() -> None:
    with pytest.raises(ValueError, match="5,000 values"):
        kept_values(np.arange(5000.0), np.ones(5000), 16)


@pytest.mark.parametrize("most", [0, -1, 2.5, True, "16"])
def test_what_is_no_number_of_values_is_refused(most: Any) -> None:
    with pytest.raises(ValueError, match=f"a whole number from 1 up, got {most!r}"):
        kept_values(np.arange(5.0), np.ones(5), most)


SIZES = [4000, 1000, 3000]


def rounded(fraction: float) -> ClusterResult:
    generator = torch.Generator().manual_seed(0)
    mu = torch.randn(sum(SIZES), generator=generator) * 0.2
    sigma = torch.full_like(mu, 0.01)
    return cluster_round(mu, sigma, fraction=fraction, codebook=AdditivePow2())


@pytest.mark.parametrize("fraction", [1.0, 0.6])
def test_a_round_is_limited_tensor_by_tensor(fraction: float) -> None:
    result = rounded(fraction)
    limited = limit_result(result, SIZES, 4, None)
    free = result.assignment == -1
    assert torch.equal(limited.assignment == -1, free)
    assert torch.equal(limited.mu[free], result.mu[free])
    assert torch.equal(limited.sigma, result.sigma)
    assert limited.threshold == result.threshold
    assert torch.equal(limited.mu[~free], limited.codebook[limited.assignment[~free].long()])
    assert torch.isin(limited.codebook, result.codebook).all()
    assert torch.equal(limited.codebook, torch.unique(limited.mu[~free]))
    for before, after in zip(result.mu.split(SIZES), limited.mu.split(SIZES), strict=True):
        assert len(torch.unique(before)) > 16
        assert free.any() or len(torch.unique(after)) == 4
    assert torch.equal(result.assignment, rounded(fraction).assignment)


def test_what_is_few_already_stays_bit_for_bit() -> None:
    result = rounded(1.0)
    limited = limit_result(result, SIZES, 4096, None)
    assert torch.equal(limited.mu, result.mu)
    assert torch.equal(limited.assignment, result.assignment)
    assert torch.equal(limited.codebook, result.codebook)


def test_stiff_weights_keep_their_values() -> None:
    """With all the cost on a few weights, theirs are the values that stay."""
    result = rounded(1.0)
    stiffness = torch.full_like(result.mu, 1e-6)
    stiff = torch.tensor([5, 17, 333, 1234])
    stiffness[stiff] = 1e6
    limited = limit_result(result, [sum(SIZES)], 4, stiffness)
    assert torch.equal(limited.mu[stiff], result.mu[stiff])
    assert not torch.equal(limit_result(result, [sum(SIZES)], 4, None).mu[stiff], result.mu[stiff])
