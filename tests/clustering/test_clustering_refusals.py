"""What a clustering round refuses, in which words, and what its smallest inputs give."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import Tensor

from pwfn.clustering.codebooks.codebook import AdditivePow2, Pow2
from pwfn.clustering.rounds.greedy_round import cluster_round
from pwfn.errors import InvalidValueError

GOOD = torch.tensor([0.1, -0.2, 0.3])
NAN, INF = float("nan"), float("inf")


def refused(mu: Tensor, sigma: Tensor, words: str, **options: Any) -> None:
    with pytest.raises(ValueError, match=re.escape(words)) as caught:
        cluster_round(mu, sigma, **{"fraction": 0.5, **options})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
@pytest.mark.parametrize("position", [0, 2])
def test_mu_must_be_finite(bad: float, position: int) -> None:
    mu = GOOD.clone()
    mu[position] = bad
    refused(mu, GOOD.abs(), "mu must be finite, its smallest value is")


@pytest.mark.parametrize("bad", [NAN, INF, -INF, -1e-12])
@pytest.mark.parametrize("position", [0, 2])
def test_sigma_must_be_finite_and_not_negative(bad: float, position: int) -> None:
    sigma = GOOD.abs()
    sigma[position] = bad
    refused(GOOD, sigma, "sigma must be finite and not negative, its smallest value is")


def test_the_message_names_the_values() -> None:
    refused(GOOD, torch.tensor([0.5, -0.25, 2.0]), "its smallest value is -0.25 and its largest 2.0")
    refused(torch.tensor([0.5, -INF, 2.0]), GOOD, "its smallest value is -inf and its largest 2.0")


@pytest.mark.parametrize(
    ("mu", "sigma", "shapes"),
    [
        (torch.ones(2, 2), torch.ones(2, 2), "(2, 2) and (2, 2)"),
        (torch.ones(3), torch.ones(2), "(3,) and (2,)"),
        (torch.ones(0), torch.ones(0), "(0,) and (0,)"),
        (torch.tensor(1.0), torch.tensor(1.0), "() and ()"),
    ],
)
def test_shapes(mu: Tensor, sigma: Tensor, shapes: str) -> None:
    refused(mu, sigma, f"mu and sigma must be flat, equally long and not empty, their shapes are {shapes}")


@pytest.mark.parametrize(("one", "other"), [(torch.float32, torch.float64), (torch.int64, torch.int64)])
def test_dtypes(one: torch.dtype, other: torch.dtype) -> None:
    words = f"mu and sigma must have the same floating dtype, theirs are {one} and {other}"
    refused(torch.ones(3, dtype=one), torch.ones(3, dtype=other), words)


def test_all_zero() -> None:
    refused(torch.tensor([0.0, -0.0]), torch.ones(2), "mu must not be zero everywhere: there is nothing to cluster")


@pytest.mark.parametrize("inc", [1.0, 0.5, 0.0, -2.0, NAN, INF])
def test_inc(inc: float) -> None:
    words = f"inc = {inc!r}: must be a number above 1 (or the threshold would never grow)"
    refused(GOOD, GOOD.abs(), words, inc=inc)


@pytest.mark.parametrize("fraction", [0.0, -0.1, 1.0000001, NAN])
def test_fraction(fraction: float) -> None:
    refused(GOOD, GOOD.abs(), f"fraction = {fraction!r}: must be above 0 and at most 1", fraction=fraction)


@pytest.mark.parametrize("threshold", [0.0, -1.0, NAN, INF])
def test_threshold(threshold: float) -> None:
    refused(GOOD, GOOD.abs(), f"threshold = {threshold!r}: must be a number above 0", threshold=threshold)


def test_all_settings_are_named_at_once() -> None:
    with pytest.raises(InvalidValueError) as caught:
        cluster_round(GOOD, GOOD.abs(), fraction=2, threshold=-1, inc=1)
    assert [fault.name for fault in caught.value.faults] == ["fraction", "threshold", "inc"]


@pytest.mark.parametrize(("b", "largest"), [(24, 64.0), (12, -262144.0), (7, 1e16), (0, 1e38)])
def test_weights_too_large_for_the_grid(b: int, largest: float) -> None:
    mu = torch.tensor([0.1, largest])
    words = f"mu must be smaller than {2.0 ** (30 - b):g} in magnitude where b = {b}"
    refused(mu, torch.ones(2), words, codebook=AdditivePow2(b))


def test_a_tie_goes_to_the_smaller_centroid() -> None:
    sigma = torch.tensor([0.125, 0.0])  # the first weight reaches 0.25 and 0.5, or -0.5 and -0.25
    for mu, expected in ((0.375, 0.25), (-0.375, -0.5)):
        result = cluster_round(torch.tensor([mu, 1.0]), sigma, fraction=1.0, codebook=AdditivePow2(2, 1))
        assert result.mu.tolist() == [expected, 1.0]
        assert result.threshold == 1.0


def test_zero_fix_takes_a_tiny_weight_that_is_sure_of_itself() -> None:
    mu, sigma = torch.tensor([0.9 * 2.0**-7, 1.0]), torch.tensor([0.0, 0.0])
    with_fix, without = (cluster_round(mu, sigma, fraction=1.0, zero_fix=z) for z in (True, False))
    assert with_fix.mu.tolist() == [0.0, 1.0]
    assert with_fix.threshold == 1.0
    assert without.mu.tolist() == [0.0, 1.0]
    assert without.threshold == 2.0**13


def test_of_a_cluster_cut_short_the_tiny_weights_come_first_then_the_nearest_then_the_first() -> None:
    step = 2.0**-7
    mu = torch.tensor([1.5 * step, 0.9 * step, 0.1 * step, 0.1 * step, -0.1 * step])
    sigma = torch.tensor([10.0, 1e-6, 0.5 * step, 0.5 * step, 0.5 * step])  # the first is the nearest in sigmas
    order = []
    for n in range(1, 6):
        result = cluster_round(mu, sigma, fraction=n / 5, codebook=Pow2(), threshold=1.0)
        assert set(result.codebook.tolist()) == {0.0}
        order.append(result.assignment.tolist())
    assert order == [
        [-1, -1, 0, -1, -1],
        [-1, -1, 0, 0, -1],
        [-1, -1, 0, 0, 0],
        [-1, 0, 0, 0, 0],
        [0, 0, 0, 0, 0],
    ]
