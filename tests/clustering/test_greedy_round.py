"""The fast clustering against the dense oracle."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import event, given, settings
from hypothesis import strategies as st
from torch import Tensor

from pwfn.bayesian.prior import Pow2DistancePrior
from pwfn.clustering import chunking, sigma_join
from pwfn.clustering.cluster_result import ClusterResult
from pwfn.clustering.codebooks.candidates import GridCandidates
from pwfn.clustering.codebooks.codebook import MAX_LIMIT_BITS, AdditivePow2
from pwfn.clustering.rounds import intervals
from pwfn.clustering.rounds.greedy_round import cluster_round
from pwfn.clustering.rounds.unassigned import UnassignedWeights
from tests.support import oracles

EXACT = settings(deadline=None, derandomize=True, max_examples=500)


def narrow(bound: float) -> st.SearchStrategy[float]:
    """Float32 values, those near zero included; below 2^-40 differences from a centroid would be rounded."""
    return st.floats(-bound, bound, width=32, allow_subnormal=False).filter(lambda x: x == 0 or abs(x) > 2.0**-40)


powers = st.builds(lambda sign, j: sign * 2.0**j, st.sampled_from((-1.0, 1.0)), st.integers(-13, 3))
grid_points = st.builds(lambda n, b: n * 2.0**-b, st.integers(-300, 300), st.integers(0, 13))  # ties are made of them
small = st.one_of(narrow(0.125), narrow(1.5), powers, grid_points, st.just(0.0))
huge = st.one_of(small, small, narrow(2.0**12))
sigmas = st.one_of(
    st.sampled_from((0.0, 1e-30, 2.0**-21, 2.0**-20, 2.0**-9, 2.0**-7, 2.0**-4, 0.5, 8.0)).map(
        lambda x: float(np.float32(x))
    ),
    st.floats(0, 0.0625, width=32, allow_subnormal=False),
    st.floats(0, 4, width=32, allow_subnormal=False),
)


@st.composite
def weights(draw: st.DrawFn, values: st.SearchStrategy[float], most: int = 40) -> tuple[list[float], list[float]]:
    """Flat mu and sigma of equal length, mu not zero everywhere; some drawn from few values, so that they repeat."""
    pool = draw(st.one_of(st.none(), st.lists(values, min_size=1, max_size=4)))
    mu = draw(st.lists(values if pool is None else st.sampled_from(pool), min_size=1, max_size=most).filter(any))
    one_sigma = draw(st.one_of(st.none(), sigmas))
    length = len(mu)
    sigma = draw(st.lists(sigmas, min_size=length, max_size=length)) if one_sigma is None else [one_sigma] * length
    return mu, sigma


rounds = st.fixed_dictionaries(
    {
        "fraction": st.one_of(st.floats(1e-6, 1), st.sampled_from((1e-9, 0.2, 0.5, 0.975, 1.0))),
        "threshold": st.sampled_from((0.25, 0.3, 1.0, 1.5, 2.0, 17.0)),
        "inc": st.sampled_from((1.5, 2.0, 3.0)),
        "b": st.integers(0, 12),
        "max_order": st.integers(1, 4),
        "zero_fix": st.booleans(),
        "rule": st.sampled_from(sorted(oracles.SIGMA_JOINS)),
    }
)


def run(mu: Tensor, sigma: Tensor, rule: str = "std_mu", **options: Any) -> ClusterResult:
    codebook = AdditivePow2(options.pop("b", 7), options.pop("max_order", 4))
    return cluster_round(mu, sigma, codebook=codebook, sigma_join=getattr(sigma_join, rule), **options)


def compare(case: tuple[list[float], list[float]], options: dict[str, Any]) -> None:
    mu, sigma = (torch.tensor(x, dtype=torch.float64) for x in case)
    assert torch.equal(mu, mu.float().double())
    assert torch.equal(sigma, sigma.float().double())
    result = run(mu, sigma, **options)
    new_mu, new_sigma, assignment, codebook, k = oracles.cluster_round(mu.numpy(), sigma.numpy(), **options)
    assert result.mu.tolist() == new_mu.tolist()
    assert result.assignment.tolist() == assignment
    assert result.codebook.tolist() == codebook
    assert result.threshold == k
    torch.testing.assert_close(result.sigma, torch.from_numpy(new_sigma), rtol=1e-9, atol=0)
    assert int((result.assignment >= 0).sum()) == math.ceil(options["fraction"] * len(case[0]))


@EXACT
@given(weights(small), rounds)
def test_round_equals_the_dense_oracle(case: tuple[list[float], list[float]], options: dict[str, Any]) -> None:
    compare(case, options)


@pytest.mark.slow
@settings(EXACT, max_examples=200)
@given(weights(huge, most=15), rounds)
def test_outliers_take_the_sorted_codes(case: tuple[list[float], list[float]], options: dict[str, Any]) -> None:
    mu, sigma = (torch.tensor(x, dtype=torch.float64) for x in case)
    grid = GridCandidates(2.0 ** -options["b"], options["threshold"], options["zero_fix"])
    first = intervals.Intervals(UnassignedWeights(mu, sigma), grid, float(sigma.max()))
    event(f"codes counted into a table: {first._counted}")
    compare(case, options)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("counted_codes", "chunk"), [(0, 1), (0, 7), (0, 1 << 15), (1 << 20, 1), (1 << 20, 3), (200, 5)]
)
def test_chunk_borders_and_both_kinds_of_code(counted_codes: int, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intervals, "MOST_COUNTED_CODES", counted_codes)
    monkeypatch.setattr(chunking, "CHUNK", chunk)

    @settings(EXACT, max_examples=100)
    @given(weights(small), rounds)
    def check(case: tuple[list[float], list[float]], options: dict[str, Any]) -> None:
        compare(case, options)

    check()


@pytest.mark.parametrize("rule", sorted(oracles.SIGMA_JOINS))
@pytest.mark.parametrize("fraction", [0.003, 0.6, 1.0])
def test_thousands_of_weights_with_heavy_tails(rule: str, fraction: float) -> None:
    numbers = np.random.default_rng(3)
    mu = (0.03 * numbers.standard_t(2, 1500)).astype(np.float32).astype(np.float64)
    mu[[5, 700]] = (130.5, -(2.0**9))
    sigma = np.abs(0.01 * numbers.standard_normal(1500)).astype(np.float32).astype(np.float64)
    options = {"threshold": 1.0, "inc": 2.0, "b": 7, "max_order": 4, "zero_fix": True}
    compare((mu.tolist(), sigma.tolist()), {"fraction": fraction, "rule": rule, **options})


@pytest.mark.parametrize("b", [0, 7, 12, 20, 24])
def test_the_largest_weights_a_grid_allows(b: int) -> None:
    """Codes of interval pairs become as large as they can: they must not be rounded."""
    largest = 2.0 ** (MAX_LIMIT_BITS - b) * (1 - 2.0**-24)
    mu = [largest, -largest, largest / 3, largest / 3, 0.77 * largest, 0.7 * largest, -(2.0**-b), 0.0, 1.3 * 2.0**-b]
    mu = np.array(mu, dtype=np.float32).tolist()
    for sigma in ([1e-3] * 9, [largest / 3, 0, 0, 2.0**-20, largest, 1, 1, 1, 0]):
        options = {"fraction": 1.0, "threshold": 1.0, "inc": 2.0, "b": b, "max_order": 2, "zero_fix": True}
        compare((mu, np.array(sigma, dtype=np.float32).tolist()), {**options, "rule": "divide_by_2"})


def float32_case(n: int = 4000) -> tuple[Tensor, Tensor]:
    mu = 0.03 * torch.randn(n, generator=torch.Generator().manual_seed(1))
    return mu, Pow2DistancePrior()(mu)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_dtype_is_kept_and_inputs_are_not_touched(dtype: torch.dtype) -> None:
    mu, sigma = (x.to(dtype) for x in float32_case(501))
    mu.requires_grad_()
    copies = mu.detach().clone(), sigma.clone()
    result = run(mu, sigma, fraction=0.37)
    assert torch.equal(mu.detach(), copies[0])
    assert torch.equal(sigma, copies[1])
    assert (result.mu.dtype, result.sigma.dtype, result.codebook.dtype) == (dtype, dtype, dtype)
    assert result.assignment.dtype == torch.int32
    fixed = result.assignment >= 0
    assert int(fixed.sum()) == math.ceil(0.37 * 501)
    assert torch.equal(result.mu[fixed], result.codebook[result.assignment[fixed].long()])
    assert torch.equal(result.mu[~fixed], copies[0][~fixed])
    assert torch.equal(result.sigma[~fixed], copies[1][~fixed])
    assert not result.mu.requires_grad


def test_half_weights_are_clustered_as_their_float32_values() -> None:
    mu, sigma = (x.bfloat16() for x in float32_case(501))
    half, full = (run(m, s, fraction=0.9) for m, s in ((mu, sigma), (mu.float(), sigma.float())))
    assert torch.equal(half.mu, full.mu.bfloat16())
    assert torch.equal(half.sigma, full.sigma.bfloat16())
    assert torch.equal(half.assignment, full.assignment)


def test_the_same_round_twice_gives_the_same_bits() -> None:
    mu, sigma = float32_case(20_000)
    first, second = (run(mu, sigma, fraction=0.8) for _ in range(2))
    for name in ("mu", "sigma", "assignment", "codebook"):
        assert torch.equal(getattr(first, name), getattr(second, name))
