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

from pwfn import groups, passes, reach, sigma_join
from pwfn.clustering import cluster_round
from pwfn.codebook import AdditivePow2, Codebook, Pow2
from pwfn.faults import InvalidValueError
from pwfn.greedy import most_bits, most_weights
from pwfn.groups import Groups
from pwfn.made_codebook import RANGES, KMeans, Table, Uniform
from pwfn.nearest_round import nearest_round
from pwfn.rules import GreedyBits
from tests import oracles

SETTINGS = settings(deadline=None, derandomize=True, max_examples=150)
MADE: list[Codebook] = [
    Uniform(bits=2),
    Uniform(bits=4, scope="tensor"),
    Uniform(bits=3, within=1.0),
    KMeans(5),
    KMeans(3, scope="tensor"),
]


def weights(n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Heavy-tailed float32 numbers, three tensors of different scale, some of them exactly zero."""
    numbers = np.random.default_rng(seed)
    mu = 0.02 * numbers.standard_t(3, n) * np.repeat([1, 4, 0.5], [n // 2, n // 3, n - n // 2 - n // 3])
    mu[:: max(2, n // 7)] = 0
    sigma = np.abs(0.01 * numbers.standard_normal(n))
    return torch.tensor(mu, dtype=torch.float32), torch.tensor(sigma, dtype=torch.float32)


def sizes_of(n: int) -> list[int]:
    return [n // 2, n // 3, n - n // 2 - n // 3]


# what the codebooks hold ---------------------------------------------------------------------------------------------


def test_pow2_is_the_method_with_a_single_term() -> None:
    mu, sigma = weights(2000)
    one, other = (cluster_round(mu, sigma, fraction=0.8, codebook=book) for book in (Pow2(6), AdditivePow2(6, 1)))
    assert torch.equal(one.mu, other.mu) and torch.equal(one.codebook, other.codebook)
    assert all(math.frexp(abs(value))[0] == 0.5 for value in one.codebook.tolist() if value)


@pytest.mark.parametrize("within", [None, 1.0, 0.9])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_uniform_is_a_ladder_of_exact_multiples_around_zero(bits: int, within: float | None) -> None:
    mu, _ = weights(3000)
    (values,) = Uniform(bits, within).made_for(mu, sizes_of(3000)).values
    step = values[len(values) // 2 + 1]
    assert list(values) == [j * step for j in range(-(2 ** (bits - 1)) + 1, 2 ** (bits - 1))]
    assert np.float32(values).astype(np.float64).tolist() == list(values)
    if within is not None:
        inside = np.sort(mu.abs().double().numpy())[math.ceil(within * 3000) - 1]
        assert values[-1] == pytest.approx(inside, rel=2.0**-15)


def test_the_range_of_uniform_has_the_least_square_error_of_those_tried() -> None:
    mu, _ = weights(3000)
    x = mu.double().numpy()
    (made,) = Uniform(4).made_for(mu, ()).values

    def error(reach: float) -> float:
        return sum(min((v - j * reach / 7) ** 2 for j in range(-7, 8)) for v in x.tolist())

    errors = {share: error(share * np.abs(x).max()) for share in RANGES[::4].tolist()}
    best = min(errors.values())
    assert error(made[-1]) <= best * (1 + 1e-6) and best < 0.7 * errors[1.0]


@SETTINGS
@given(st.integers(0, 10_000), st.integers(5, 24), st.integers(2, 5))
def test_kmeans_is_the_optimum_of_all_partitions(seed: int, n: int, k: int) -> None:
    mu, _ = weights(n, seed)
    found, counts = np.unique(mu.double().numpy(), return_counts=True)
    if k > len(found):
        return
    (values,) = KMeans(k).made_for(mu, ()).values
    assert values == pytest.approx(oracles.kmeans(found.tolist(), counts.tolist(), k), rel=1e-6, abs=1e-9)


def test_one_value_more_than_distinct_weights_is_refused_in_one_line_and_per_tensor_they_are_the_values() -> None:
    mu = torch.tensor([0.5, 0.5, -1.0, 2.0, 0.25])
    with pytest.raises(InvalidValueError) as caught:
        KMeans(5).made_for(mu, [3, 2])
    assert str(caught.value) == "codebook.values = 5: must be at most 4, the distinct weights"
    assert KMeans(4).made_for(mu, [3, 2]).values == ((-1.0, 0.25, 0.5, 2.0),)
    assert KMeans(5, "tensor").made_for(mu, [3, 2]).values == ((-1.0, 0.5), (0.25, 2.0))


def test_a_tensor_of_zeros_has_zero_alone() -> None:
    mu = torch.tensor([0.0, 0.0, 1.0, -2.0])
    assert Uniform(2, 1.0, "tensor").made_for(mu, [2, 2]).values == ((0.0,), (-2.0, 0.0, 2.0))
    assert KMeans(2, "tensor").made_for(mu, [2, 2]).values == ((0.0,), (-2.0, 1.0))


def test_groups_keep_sums_and_are_the_distinct_weights_where_there_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    mu, _ = weights(5000)
    few = Groups.of(mu[:40])
    assert few.means.tolist() == np.unique(mu[:40].double().numpy()).tolist() and few.counts.sum() == 40
    many = Groups.of(mu, 500)
    assert len(many.means) <= 514 and many.counts.sum() == 5000 and (np.diff(many.means) > 0).all()
    assert (many.means * many.counts).sum() == pytest.approx(mu.double().sum().item(), rel=1e-9)
    assert Groups.of(torch.full((9,), 0.5), 4).means.tolist() == [0.5]
    far = torch.cat([mu, torch.tensor([1e6, -3e5])])
    many = Groups.of(far, 500)
    assert many.counts.sum() == 5002 and many.means[0] == -3e5 and many.means[-1] == 1e6
    assert len(many.means) > 200  # two huge weights have not put all others into one bin
    exact, coarse = ({**KMeans(8).made_for(mu, ()).saved()}["values"][0] for _ in range(2))
    assert exact == coarse
    monkeypatch.setattr(groups.Groups.of.__func__, "__defaults__", (2000,))
    assert KMeans(8).made_for(mu, ()).values[0] == pytest.approx(exact, rel=0.05)


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
    monkeypatch.setattr("pwfn.made_codebook.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"needs the package ckwrap: pip install 'pwfn\[kmeans\]'"):
        KMeans()


# rounds with them ----------------------------------------------------------------------------------------------------


def compare(mu: Tensor, sigma: Tensor, codebook: Codebook, bits: bool, zero_fix: bool, **options: Any) -> None:
    sizes = sizes_of(len(mu))
    values = codebook.made_for(mu, sizes)
    assert isinstance(values, Table)
    worth, naive = (most_bits, oracles.most_bits) if bits else (most_weights, oracles.most_weights)
    result = cluster_round(
        mu.double(), sigma.double(), codebook=codebook, sizes=sizes, worth=worth, zero_fix=zero_fix, **options
    )
    assert result.values == values
    tables = [list(table) for table in values.values]
    tiny = list(values.around_zero) if zero_fix else [0.0] * len(tables)
    new_mu, new_sigma, assignment, in_use, k = oracles.cluster_to_tables(
        mu.double().numpy(), sigma.double().numpy(), tables, list(values.sizes), tiny,
        worth=naive, rule="std_mu", **options,
    )  # fmt: skip
    assert result.mu.tolist() == new_mu.tolist() and result.codebook.tolist() == in_use
    assert result.assignment.tolist() == assignment and result.threshold == k
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


@pytest.mark.parametrize(("dense_codes", "chunk"), [(0, 3), (1 << 20, 1), (1 << 20, 7)])
def test_chunk_borders_and_both_kinds_of_code(dense_codes: int, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "DENSE_CODES", dense_codes)
    monkeypatch.setattr(passes, "CHUNK", chunk)
    for seed, codebook in enumerate(MADE):
        for fraction in (0.4, 1.0):
            compare(*weights(50, seed), codebook, False, True, fraction=fraction, threshold=1.0, inc=2.0)


@pytest.mark.parametrize("codebook", MADE, ids=repr)
def test_the_next_round_gives_fixed_weights_the_values_they_have(codebook: Codebook) -> None:
    mu, sigma = weights(4000)
    first = cluster_round(mu, sigma, fraction=0.5, codebook=codebook, sizes=sizes_of(4000))
    assert first.values is not None
    kept = Table.of(first.values.saved() or {})  # as a checkpoint has them
    assert kept == first.values
    moved = torch.where(first.assignment < 0, first.mu + 0.003 * torch.randn(4000), first.mu)
    again = cluster_round(moved, first.sigma.clamp(max=1e-6), fraction=0.5, codebook=kept, sizes=sizes_of(4000))
    fixed = (first.assignment >= 0) & (again.assignment >= 0)
    assert torch.equal(again.mu[fixed], first.mu[fixed]) and int(fixed.sum()) > 1500
    assert again.values == kept


# the nearest value ---------------------------------------------------------------------------------------------------


def naive_nearest(x: float, table: list[float]) -> float:
    return min(table, key=lambda value: (abs(x - value), value))


@pytest.mark.parametrize("codebook", [*MADE, Pow2(6), AdditivePow2(6, 3)], ids=repr)
@pytest.mark.parametrize("fraction", [0.3, 1.0])
def test_nearest_takes_the_shortest_ways_first(codebook: Codebook, fraction: float) -> None:
    mu, sigma = (x.double() for x in weights(400))
    sizes = sizes_of(400)
    result = nearest_round(mu, sigma, fraction=fraction, codebook=codebook, sizes=sizes)
    tables = [table.tolist() for table in codebook.made_for(mu, sizes).listed(float(mu.abs().max()))]
    of = np.repeat(np.arange(3), sizes) if len(tables) > 1 else np.zeros(400, dtype=int)
    goals = [naive_nearest(x, tables[t]) for x, t in zip(mu.tolist(), of, strict=True)]
    ways = [abs(x - g) / max(s, 2.0**-20) for x, g, s in zip(mu.tolist(), goals, sigma.tolist(), strict=True)]
    taken = sorted(sorted(range(400), key=lambda i: (ways[i], i))[: math.ceil(fraction * 400)])
    assert (result.assignment >= 0).nonzero().flatten().tolist() == taken
    assert [result.mu[i].item() for i in taken] == [goals[i] for i in taken]
    assert result.codebook.tolist() == sorted({goals[i] for i in taken}) and result.threshold == max(
        ways[i] for i in taken
    )
    assert torch.equal(result.mu[taken], result.codebook[result.assignment[taken].long()])
    free = result.assignment < 0
    assert torch.equal(result.mu[free], mu[free]) and torch.equal(result.sigma[free], sigma[free])


def test_kmeans_at_once_is_each_weight_at_the_nearest_centre_of_the_optimum() -> None:
    mu, sigma = weights(150)
    found, counts = np.unique(mu.double().numpy(), return_counts=True)
    centres = np.array(oracles.kmeans(found.tolist(), counts.tolist(), 16))
    result = nearest_round(mu, sigma, fraction=1.0, codebook=KMeans(16))
    expected = [naive_nearest(x, centres.tolist()) for x in mu.double().tolist()]
    assert result.mu.tolist() == pytest.approx(expected, rel=1e-6, abs=1e-9)
    assert result.codebook.numel() == 16 and not (result.assignment < 0).any()


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


# the choice that saves most bits -------------------------------------------------------------------------------------


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
    result = cluster_round(mu, sigma, codebook=AdditivePow2(7, order), worth=most_bits, **options)
    new_mu, _, assignment, in_use, k = oracles.cluster_round(
        mu.numpy(), sigma.numpy(), b=7, max_order=order, rule="std_mu", worth=oracles.most_bits, **options
    )
    assert result.mu.tolist() == new_mu.tolist() and result.codebook.tolist() == in_use
    assert result.assignment.tolist() == assignment and result.threshold == k


def test_a_value_taken_before_draws_more_weights_than_a_new_one_of_the_same_catch() -> None:
    """At threshold 1 ten weights take 0.5. At 2 three weights reach it and 0.25; one more that, and two more this."""
    mu = torch.tensor([0.5] * 10 + [0.375] * 3 + [0.53] + [0.1875] * 2)
    sigma = torch.tensor([0.01] * 10 + [0.0625] * 3 + [0.02] + [0.03125] * 2)
    options: dict[str, Any] = {"fraction": 1.0, "codebook": Pow2(2), "zero_fix": False}
    weights_first = cluster_round(mu, sigma, **options)
    bits_first = cluster_round(mu, sigma, worth=most_bits, **options)
    assert weights_first.mu.tolist() == [0.5] * 10 + [0.25] * 3 + [0.5] + [0.25] * 2
    assert bits_first.mu.tolist() == [0.5] * 14 + [0.25] * 2


def test_values_that_save_too_little_are_passed_over_until_their_weights_reach_others() -> None:
    mu, sigma = weights(20_000)
    options: dict[str, Any] = {"fraction": 1.0, "worth": most_bits}
    every, few = (cluster_round(mu, sigma, least=least, **options) for least in (0.0, 8.0))
    counts = [torch.bincount(result.assignment) for result in (every, few)]
    assert few.codebook.numel() < 0.6 * every.codebook.numel()
    assert counts[0].min() < 10 and (counts[1] >= 150).float().mean() > 0.8
    alone = cluster_round(*weights(30), least=30.0, **options)  # never to be met: given up, not waited for
    assert not (alone.assignment < 0).any()


@pytest.mark.parametrize("least", [-1.0, float("nan"), 33.0])
def test_bits_that_no_weight_can_save_are_refused(least: float) -> None:
    with pytest.raises(InvalidValueError, match=r"least = .*: must be a number from 0 to 32"):
        GreedyBits(least=least)
