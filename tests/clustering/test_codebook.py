"""The codebook against brute force over all sums."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pwfn.clustering.codebooks.codebook import AdditivePow2, SignedPow2
from pwfn.clustering.codebooks.orders import order_of
from pwfn.clustering.rules import Greedy, GreedyBits, Nearest, RuleOfWeights
from pwfn.clustering.sigma_join import std_mu
from pwfn.errors import InvalidValueError
from tests.support import oracles

SETTINGS = settings(deadline=None, derandomize=True, max_examples=150)
bs = st.integers(0, 9)
orders = st.integers(1, 4)
limits = st.one_of(st.floats(0, 3), st.sampled_from((2.0**-9, 2.0**-3, 0.25, 0.5, 1.0, 2.0, 4.0)))


@SETTINGS
@given(bs, orders, limits)
def test_candidates_are_all_sums_of_at_most_n_powers(b: int, order: int, largest: float) -> None:
    made = AdditivePow2(b).candidates(order, largest)
    assert made.dtype == torch.float64
    assert made.tolist() == list(oracles.candidates(order, b, largest))


@SETTINGS
@given(bs, orders, limits)
def test_candidates_are_sorted_mirrored_unique_within_limits_and_hold_one_positive_zero(
    b: int, order: int, largest: float
) -> None:
    values = AdditivePow2(b).candidates(order, largest).tolist()
    assert values == sorted(set(values))
    assert values == [-v for v in reversed(values)]
    assert max(values) <= largest
    zeros = [v for v in values if v == 0]
    assert len(zeros) == 1
    assert math.copysign(1, zeros[0]) == 1
    assert all(oracles.order_of(v, b) <= order for v in values)


@pytest.mark.parametrize("j", range(-7, 4))
@pytest.mark.parametrize("order", range(1, 5))
def test_a_limit_that_is_a_power_of_two_is_a_candidate(j: int, order: int) -> None:
    values = AdditivePow2(7).candidates(order, 2.0**j)
    assert values[-1] == 2.0**j
    assert values[0] == -(2.0**j)
    below = AdditivePow2(7).candidates(order, math.nextafter(2.0**j, 0))
    assert below.max() < 2.0**j


def test_below_the_step_only_zero_is_left() -> None:
    assert AdditivePow2(7).candidates(4, 0.99 * 2.0**-7).tolist() == [0.0]
    assert AdditivePow2(2).candidates(2, 1.0).tolist() == [-1, -0.75, -0.5, -0.25, 0, 0.25, 0.5, 0.75, 1]


def test_a_callers_change_does_not_reach_the_next_caller() -> None:
    first = AdditivePow2(5).candidates(2, 1.0)
    expected = first.tolist()
    first.zero_()
    assert AdditivePow2(5).candidates(2, 1.0).tolist() == expected


@pytest.mark.parametrize("b", [0, 3, 7, 12])
def test_order_of_counts_the_fewest_powers(b: int) -> None:
    numerators = torch.arange(-1100, 1101)
    values = (numerators * 2.0**-b).reshape(31, 71)
    orders = order_of(values, b)
    assert orders.dtype == torch.int64
    assert orders.shape == values.shape
    assert orders.flatten().tolist() == [oracles.order_of(v, b) for v in values.flatten().tolist()]


def test_order_is_the_smallest_at_which_a_value_becomes_a_candidate() -> None:
    codebook = AdditivePow2(6)
    seen: dict[float, int] = {0.0: 0}
    for order in range(1, 5):
        for value in codebook.candidates(order, 1.7).tolist():
            seen.setdefault(value, order)
    assert set(seen.values()) == {0, 1, 2, 3, 4}
    assert order_of(torch.tensor(list(seen)), 6).tolist() == list(seen.values())


@pytest.mark.parametrize("b", [-1, 25, 7.0, None])
@pytest.mark.parametrize("max_order", [0, 5, 1.5])
def test_all_settings_out_of_range_are_named(b: int, max_order: int) -> None:
    with pytest.raises(InvalidValueError) as caught:
        AdditivePow2(b, max_order)
    assert str(caught.value) == (
        f"b = {b!r}: must be an integer from 0 to 24; max_order = {max_order!r}: must be an integer from 1 to 4"
    )


def signed_digits(number: int) -> int:
    """The digits of a non-adjacent form, one by one (Reitwiesner 1960)."""
    count = 0
    while number:
        if number & 1:
            number -= 2 - (number & 3)
            count += 1
        number >>= 1
    return count


@pytest.mark.parametrize("order", [1, 2, 3, 4])
@pytest.mark.parametrize("limit", [0, 1, 2, 5, 31, 100, 513, 1000])
def test_signed_values_are_those_of_few_signed_digits(order: int, limit: int) -> None:
    values = SignedPow2(b=0, max_order=order).candidates(order, float(limit))
    assert values.tolist() == [v for v in range(-limit, limit + 1) if signed_digits(abs(v)) <= order]


def test_four_signed_terms_reach_every_step_up_to_170() -> None:
    signed, sums = (one.candidates(4, 200.0).tolist() for one in (SignedPow2(b=0), AdditivePow2(b=0)))
    assert set(range(-170, 171)) <= set(signed)
    assert 171 not in signed
    assert set(range(-30, 31)) <= set(sums)
    assert 31 not in sums
    assert set(sums) <= set(signed)


def test_signed_orders_are_those_digits() -> None:
    orders = SignedPow2(b=3).orders(torch.arange(-600, 600).double() / 8)
    assert orders.tolist() == [signed_digits(abs(n)) for n in range(-600, 600)]


@pytest.mark.parametrize("rule", [Greedy(), GreedyBits(), Nearest()], ids=repr)
def test_every_rule_takes_signed_values(rule: RuleOfWeights) -> None:
    torch.manual_seed(0)
    mu, codebook = 0.5 * torch.randn(2000), SignedPow2(5, 2)
    sigma = torch.full_like(mu, 0.05)
    result = rule.at(1.0)(mu, sigma, fraction=1.0, codebook=codebook, sizes=(2000,), sigma_join=std_mu, tolerance=None)
    numbers = (result.mu.double() * 32).round().long()
    assert torch.equal(numbers.double() / 32, result.mu.double())
    assert max(signed_digits(abs(n)) for n in numbers.tolist()) == 2
    assert any(oracles.order_of(value, 5) > 2 for value in result.mu.tolist())
