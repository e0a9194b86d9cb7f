"""What holds after any greedy round, whatever the weights."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from pwfn.clustering import sigma_join
from pwfn.clustering.codebooks.codebook import AdditivePow2, Codebook, Pow2
from pwfn.clustering.codebooks.fitted_codebook import Uniform
from pwfn.clustering.rounds.greedy_cover import most_bits, most_weights
from pwfn.clustering.rounds.greedy_round import cluster_round
from pwfn.clustering.rounds.nearest_round import nearest_round
from tests.support import oracles

SETTINGS = settings(deadline=None, derandomize=True, max_examples=150)
CODEBOOKS: list[Codebook] = [AdditivePow2(7, 4), AdditivePow2(3, 2), Pow2(5), Uniform(3)]
seeds = st.integers(0, 10_000)
sizes = st.integers(1, 200)
fractions = st.one_of(st.floats(1e-9, 1), st.sampled_from((0.2, 0.5, 1.0)))
options = st.fixed_dictionaries(
    {
        "threshold": st.sampled_from((0.3, 1.0, 8.0)),
        "inc": st.sampled_from((1.3, 2.0)),
        "zero_fix": st.booleans(),
        "gain": st.sampled_from((most_weights, most_bits)),
        "codebook": st.sampled_from(CODEBOOKS),
    }
)


def weights(n: int, seed: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Continuous numbers: no two weights are equally far from anything."""
    numbers = torch.Generator().manual_seed(seed)
    mu = 0.2 * torch.randn(n, generator=numbers, dtype=torch.float64)
    sigma = 0.001 + 0.05 * torch.rand(n, generator=numbers, dtype=torch.float64)
    return mu.to(dtype), sigma.to(dtype)


@SETTINGS
@given(sizes, seeds, fractions, options, st.sampled_from((torch.float32, torch.float64, torch.bfloat16)))
def test_exactly_the_fraction_is_fixed_and_sits_on_the_codebook(
    n: int, seed: int, fraction: float, chosen: dict[str, Any], dtype: torch.dtype
) -> None:
    mu, sigma = weights(n, seed, dtype)
    result = cluster_round(mu, sigma, fraction=fraction, **chosen)
    fixed = result.assignment >= 0
    assert int(fixed.sum()) == math.ceil(fraction * n)
    assert torch.equal(result.mu[fixed], result.codebook[result.assignment[fixed].long()])
    assert torch.equal(result.mu[~fixed], mu[~fixed])
    assert torch.equal(result.sigma[~fixed], sigma[~fixed])
    assert set(result.assignment[fixed].tolist()) == set(range(result.codebook.numel()))
    assert bool((result.codebook.diff() > 0).all())


@SETTINGS
@given(sizes, seeds, fractions, options)
def test_every_fixed_weight_reaches_its_value_at_the_final_threshold(
    n: int, seed: int, fraction: float, chosen: dict[str, Any]
) -> None:
    mu, sigma = weights(n, seed)
    result = cluster_round(mu, sigma, fraction=fraction, **{**chosen, "zero_fix": False})
    fixed = result.assignment >= 0
    distance = (result.mu - mu).abs()[fixed]
    assert bool((distance <= result.threshold * sigma[fixed] * (1 + 1e-12)).all())


@SETTINGS
@given(sizes, seeds, fractions, options, st.sampled_from(sorted(oracles.SIGMA_JOINS)))
def test_members_of_a_value_have_the_sigma_that_the_rule_gives_them(
    n: int, seed: int, fraction: float, chosen: dict[str, Any], rule: str
) -> None:
    mu, sigma = weights(n, seed)
    result = cluster_round(mu, sigma, fraction=fraction, sigma_join=getattr(sigma_join, rule), **chosen)
    assume(result.threshold == chosen["threshold"])  # at one threshold no value is taken twice
    for number in range(result.codebook.numel()):
        members = (result.assignment == number).numpy()
        expected = oracles.SIGMA_JOINS[rule](mu.numpy()[members], sigma.numpy()[members])
        np.testing.assert_allclose(result.sigma.numpy()[members], expected, rtol=1e-9, atol=1e-15)


@SETTINGS
@given(st.integers(2, 200), seeds, seeds, fractions, options)
def test_the_order_of_the_weights_does_not_matter(
    n: int, seed: int, shuffle: int, fraction: float, chosen: dict[str, Any]
) -> None:
    mu, sigma = weights(n, seed)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(shuffle))
    one = cluster_round(mu, sigma, fraction=fraction, **chosen)
    other = cluster_round(mu[order], sigma[order], fraction=fraction, **chosen)
    assert torch.equal(other.codebook, one.codebook)
    assert torch.equal(other.assignment, one.assignment[order])
    assert torch.equal(other.mu, one.mu[order])
    assert other.threshold == one.threshold
    torch.testing.assert_close(other.sigma, one.sigma[order], rtol=1e-9, atol=1e-15)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("method", [cluster_round, nearest_round])
def test_weights_of_a_gpu_are_clustered_on_the_cpu(method: Any) -> None:
    mu, sigma = weights(5000, 0, torch.float32)
    expected = method(mu, sigma, fraction=0.7, codebook=Pow2(6), tolerance=2 * sigma)
    result = method(mu.cuda(), sigma.cuda(), fraction=0.7, codebook=Pow2(6), tolerance=2 * sigma.cuda())
    for name in ("mu", "sigma", "assignment", "codebook"):
        found = getattr(result, name)
        assert found.device.type == "cpu"
        assert torch.equal(found, getattr(expected, name))
