"""The choice that saves most bits, against a dense oracle."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pwfn.clustering.codebooks.codebook import AdditivePow2, Pow2
from pwfn.clustering.rounds.greedy_cover import most_bits
from pwfn.clustering.rounds.greedy_round import cluster_round
from pwfn.clustering.rules import GreedyBits
from pwfn.errors import InvalidValueError
from tests.support import oracles
from tests.support.heavy_tails import weights

SETTINGS = settings(deadline=None, derandomize=True, max_examples=150)


@SETTINGS
@given(
    st.integers(0, 10_000),
    st.integers(5, 60),
    st.integers(1, 4),
    st.sampled_from((0.5, 1.0)),
    st.booleans(),
    st.sampled_from((0.0, 1.0, 2.5, 9.0)),
)
def test_most_bits_equals_the_dense_oracle(
    seed: int, n: int, order: int, fraction: float, zero_fix: bool, least: float
) -> None:
    mu, sigma = (x.double() for x in weights(n, seed))
    options: dict[str, Any] = {"fraction": fraction, "threshold": 0.3, "inc": 1.7, "zero_fix": zero_fix, "least": least}
    result = cluster_round(mu, sigma, codebook=AdditivePow2(7, order), gain=most_bits, **options)
    new_mu, _, assignment, in_use, k = oracles.cluster_round(
        mu.numpy(), sigma.numpy(), b=7, max_order=order, rule="std_mu", gain=oracles.most_bits, **options
    )
    assert result.mu.tolist() == new_mu.tolist()
    assert result.codebook.tolist() == in_use
    assert result.assignment.tolist() == assignment
    assert result.threshold == k


def test_a_value_taken_before_draws_more_weights_than_a_new_one_of_the_same_catch() -> None:
    """At threshold 1 ten weights take 0.5. At 2 three weights reach it and 0.25; one more that, and two more this."""
    mu = torch.tensor([0.5] * 10 + [0.375] * 3 + [0.53] + [0.1875] * 2)
    sigma = torch.tensor([0.01] * 10 + [0.0625] * 3 + [0.02] + [0.03125] * 2)
    options: dict[str, Any] = {"fraction": 1.0, "codebook": Pow2(2), "zero_fix": False}
    weights_first = cluster_round(mu, sigma, **options)
    bits_first = cluster_round(mu, sigma, gain=most_bits, **options)
    assert weights_first.mu.tolist() == [0.5] * 10 + [0.25] * 3 + [0.5] + [0.25] * 2
    assert bits_first.mu.tolist() == [0.5] * 14 + [0.25] * 2


def test_values_that_save_too_little_are_passed_over_until_their_weights_reach_others() -> None:
    mu, sigma = weights(20_000)
    options: dict[str, Any] = {"fraction": 1.0, "gain": most_bits}
    every, few = (cluster_round(mu, sigma, least=least, **options) for least in (0.0, 8.0))
    counts = [torch.bincount(result.assignment) for result in (every, few)]
    assert few.codebook.numel() < 0.6 * every.codebook.numel()
    assert counts[0].min() < 10
    assert (counts[1] >= 150).float().mean() > 0.8
    alone = cluster_round(*weights(30), least=30.0, **options)  # never to be met: given up, not waited for
    assert not (alone.assignment < 0).any()


@pytest.mark.parametrize("least", [-1.0, float("nan"), 33.0])
def test_bits_that_no_weight_can_save_are_refused(least: float) -> None:
    with pytest.raises(InvalidValueError, match=r"least = .*: must be a number from 0 to 32"):
        GreedyBits(least=least)
