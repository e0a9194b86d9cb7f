"""Codebooks that are made from the weights: what they hold, and that the rounds use them as a dense oracle does."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pwfn.clustering import chunking
from pwfn.clustering.codebooks import weight_bins
from pwfn.clustering.codebooks.codebook import AdditivePow2, Codebook, Pow2
from pwfn.clustering.codebooks.fitted_codebook import RANGES, FittedValues, KMeans, Uniform
from pwfn.clustering.codebooks.weight_bins import WeightBins
from pwfn.clustering.rounds import intervals
from pwfn.clustering.rounds.greedy_cover import most_bits, most_weights
from pwfn.clustering.rounds.greedy_round import cluster_round
from pwfn.errors import InvalidValueError
from tests.support import oracles
from tests.support.heavy_tails import MADE, sizes_of, weights

SETTINGS = settings(deadline=None, derandomize=True, max_examples=150)
# what the codebooks hold ---------------------------------------------------------------------------------------------


def test_pow2_is_the_method_with_a_single_term() -> None:
    mu, sigma = weights(2000)
    one, other = (cluster_round(mu, sigma, fraction=0.8, codebook=book) for book in (Pow2(6), AdditivePow2(6, 1)))
    assert torch.equal(one.mu, other.mu)
    assert torch.equal(one.codebook, other.codebook)
    assert all(math.frexp(abs(value))[0] == 0.5 for value in one.codebook.tolist() if value)


@pytest.mark.parametrize("within", [None, 1.0, 0.9])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_uniform_is_a_ladder_of_exact_multiples_around_zero(bits: int, within: float | None) -> None:
    mu, _ = weights(3000)
    (values,) = Uniform(bits, within).fit(mu, sizes_of(3000)).values
    step = values[len(values) // 2 + 1]
    assert list(values) == [j * step for j in range(-(2 ** (bits - 1)) + 1, 2 ** (bits - 1))]
    assert np.float32(values).astype(np.float64).tolist() == list(values)
    if within is not None:
        inside = np.sort(mu.abs().double().numpy())[math.ceil(within * 3000) - 1]
        assert values[-1] == pytest.approx(inside, rel=2.0**-15)


def test_the_range_of_uniform_has_the_least_square_error_of_those_tried() -> None:
    mu, _ = weights(3000)
    x = mu.double().numpy()
    (made,) = Uniform(4).fit(mu, ()).values

    def error(reach: float) -> float:
        return sum(min((v - j * reach / 7) ** 2 for j in range(-7, 8)) for v in x.tolist())

    errors = {share: error(share * np.abs(x).max()) for share in RANGES[::4].tolist()}
    best = min(errors.values())
    assert error(made[-1]) <= best * (1 + 1e-6)
    assert best < 0.7 * errors[1.0]


@SETTINGS
@given(st.integers(0, 10_000), st.integers(5, 24), st.integers(2, 5))
def test_kmeans_is_the_optimum_of_all_partitions(seed: int, n: int, k: int) -> None:
    mu, _ = weights(n, seed)
    found, counts = np.unique(mu.double().numpy(), return_counts=True)
    if k > len(found):
        return
    (values,) = KMeans(k).fit(mu, ()).values
    assert values == pytest.approx(oracles.kmeans(found.tolist(), counts.tolist(), k), rel=1e-6, abs=1e-9)


def test_one_value_more_than_distinct_weights_is_refused_in_one_line_and_per_tensor_they_are_the_values() -> None:
    mu = torch.tensor([0.5, 0.5, -1.0, 2.0, 0.25])
    with pytest.raises(InvalidValueError) as caught:
        KMeans(5).fit(mu, [3, 2])
    assert str(caught.value) == "codebook.values = 5: must be at most 4, the distinct weights"
    assert KMeans(4).fit(mu, [3, 2]).values == ((-1.0, 0.25, 0.5, 2.0),)
    assert KMeans(5, "tensor").fit(mu, [3, 2]).values == ((-1.0, 0.5), (0.25, 2.0))


def test_a_tensor_of_zeros_has_zero_alone() -> None:
    mu = torch.tensor([0.0, 0.0, 1.0, -2.0])
    assert Uniform(2, 1.0, "tensor").fit(mu, [2, 2]).values == ((0.0,), (-2.0, 0.0, 2.0))
    assert KMeans(2, "tensor").fit(mu, [2, 2]).values == ((0.0,), (-2.0, 1.0))


def test_groups_keep_sums_and_are_the_distinct_weights_where_there_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    mu, _ = weights(5000)
    few = WeightBins.of(mu[:40])
    assert few.means.tolist() == np.unique(mu[:40].double().numpy()).tolist()
    assert few.counts.sum() == 40
    many = WeightBins.of(mu, 500)
    assert len(many.means) <= 514
    assert many.counts.sum() == 5000
    assert (np.diff(many.means) > 0).all()
    assert (many.means * many.counts).sum() == pytest.approx(mu.double().sum().item(), rel=1e-9)
    assert WeightBins.of(torch.full((9,), 0.5), 4).means.tolist() == [0.5]
    far = torch.cat([mu, torch.tensor([1e6, -3e5])])
    many = WeightBins.of(far, 500)
    assert many.counts.sum() == 5002
    assert many.means[0] == -3e5
    assert many.means[-1] == 1e6
    assert len(many.means) > 200  # two huge weights have not put all others into one bin
    exact = KMeans(8).fit(mu, ()).values[0]
    monkeypatch.setattr(weight_bins.WeightBins.of.__func__, "__defaults__", (2000,))
    assert KMeans(8).fit(mu, ()).values[0] == pytest.approx(exact, rel=0.05)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Uniform(bits=1), "bits = 1: must be an integer from 2 (-s, 0, s) to 8"),
        (lambda: Uniform(bits=9), "bits = 9: must be an integer from 2 (-s, 0, s) to 8"),
        (lambda: Uniform(within=0.0), "within = 0.0: must be above 0 and at most 1, or null"),
        (lambda: Uniform(within=float("nan")), "within = nan: must be above 0 and at most 1, or null"),
        (lambda: KMeans(values=1), "values = 1: must be an integer from 2 to 1024"),
        (lambda: KMeans(scope="tensors"), "scope = 'tensors': must be network or tensor"),
        (lambda: Pow2(b=25), "b = 25: must be an integer from 0 to 24"),
    ],
)
def test_settings_out_of_range(make: Any, words: str) -> None:
    with pytest.raises(InvalidValueError) as caught:
        make()
    assert str(caught.value) == words


def test_kmeans_without_its_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pwfn.clustering.codebooks.fitted_codebook.find_spec", lambda _name: None)
    with pytest.raises(ValueError, match=r"needs the package ckwrap: pip install 'pwfn\[kmeans\]'"):
        KMeans()


# rounds with them ----------------------------------------------------------------------------------------------------


def compare(mu: Tensor, sigma: Tensor, codebook: Codebook, bits: bool, zero_fix: bool, **options: Any) -> None:
    sizes = sizes_of(len(mu))
    values = codebook.fit(mu, sizes)
    assert isinstance(values, FittedValues)
    gain, naive = (most_bits, oracles.most_bits) if bits else (most_weights, oracles.most_weights)
    result = cluster_round(
        mu.double(), sigma.double(), codebook=codebook, sizes=sizes, gain=gain, zero_fix=zero_fix, **options
    )
    assert result.values == values
    tables = [list(table) for table in values.values]
    tiny = list(values.around_zero) if zero_fix else [0.0] * len(tables)
    new_mu, new_sigma, assignment, in_use, k = oracles.cluster_to_tables(
        mu.double().numpy(), sigma.double().numpy(), tables, list(values.sizes), tiny,
        gain=naive, rule="std_mu", **options,
    )  # fmt: skip
    assert result.mu.tolist() == new_mu.tolist()
    assert result.codebook.tolist() == in_use
    assert result.assignment.tolist() == assignment
    assert result.threshold == k
    torch.testing.assert_close(result.sigma, torch.from_numpy(new_sigma), rtol=1e-9, atol=1e-15)


@SETTINGS
@given(
    st.integers(0, 10_000),
    st.integers(12, 60),
    st.sampled_from(MADE),
    st.booleans(),
    st.booleans(),
    st.sampled_from((0.2, 0.6, 0.95, 1.0)),
    st.sampled_from((0.3, 1.0, 20.0)),
)
def test_rounds_equal_the_dense_oracle(
    seed: int, n: int, codebook: Codebook, bits: bool, zero_fix: bool, fraction: float, threshold: float
) -> None:
    options = {"fraction": fraction, "threshold": threshold, "inc": 1.7}
    compare(*weights(n, seed), codebook, bits, zero_fix, **options)


@pytest.mark.parametrize(("counted_codes", "chunk"), [(0, 3), (1 << 20, 1), (1 << 20, 7)])
def test_chunk_borders_and_both_kinds_of_code(counted_codes: int, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intervals, "MOST_COUNTED_CODES", counted_codes)
    monkeypatch.setattr(chunking, "CHUNK", chunk)
    for seed, codebook in enumerate(MADE):
        for fraction in (0.4, 1.0):
            compare(*weights(50, seed), codebook, False, True, fraction=fraction, threshold=1.0, inc=2.0)


@pytest.mark.parametrize("codebook", MADE, ids=repr)
def test_the_next_round_gives_fixed_weights_the_values_they_have(codebook: Codebook) -> None:
    mu, sigma = weights(4000)
    first = cluster_round(mu, sigma, fraction=0.5, codebook=codebook, sizes=sizes_of(4000))
    assert first.values is not None
    kept = FittedValues.from_dict(first.values.as_dict() or {})  # as a checkpoint has them
    assert kept == first.values
    moved = torch.where(first.assignment < 0, first.mu + 0.003 * torch.randn(4000), first.mu)
    again = cluster_round(moved, first.sigma.clamp(max=1e-6), fraction=0.5, codebook=kept, sizes=sizes_of(4000))
    fixed = (first.assignment >= 0) & (again.assignment >= 0)
    assert torch.equal(again.mu[fixed], first.mu[fixed])
    assert int(fixed.sum()) > 1500
    assert again.values == kept
