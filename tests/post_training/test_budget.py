"""Rates for budgets, on curves that are known."""

from __future__ import annotations

import math
import re

import pytest

from pwfn.errors import InvalidValueError
from pwfn.post_training.budget import TRIES, Budget, BudgetNotMet, Trial, find_rate


class Curve:
    """A network whose bits fall, and whose loss of accuracy grows, with the logarithm of the rate."""

    def __init__(self, most: float = 3.0) -> None:
        self.rates: list[float] = []
        self.most = most

    def __call__(self, rate: float) -> Trial:
        self.rates.append(rate)
        place = math.log10(rate / 1e-8)
        bits = min(self.most, max(0.2, 1.0 - 0.3 * place))
        return Trial(rate, bits / 8, bits, 0.01, drop=max(-0.1, 0.1 + 0.4 * place))


@pytest.mark.parametrize("start", [1e-10, 1e-8, 1e-6, 0.0])
@pytest.mark.parametrize("bits", [0.5, 1.0, 2.0])
def test_bits_of_the_file_are_used_up_but_not_overdrawn(bits: float, start: float) -> None:
    curve = Curve()
    found = find_rate(Budget(bits=bits), start, curve)
    assert 0.95 * bits <= found.bits <= bits
    assert len(curve.rates) <= TRIES
    assert found.rate == min(r for r in list(curve.rates) if curve(r).bits <= bits)


def test_a_network_that_loses_nothing_needs_no_more_of_its_budget() -> None:
    rates = []

    def lossless(rate: float) -> Trial:
        rates.append(rate)
        return Trial(rate, 0.05, 0.4, divergence=5e-4)

    assert find_rate(Budget(bits=2.0), 1e-8, lossless).rate == 1e-8
    assert len(rates) == 1


def test_megabytes_and_bits_are_the_same_search() -> None:
    assert find_rate(Budget(megabytes=0.125), 1e-8, Curve()) == find_rate(Budget(bits=1.0), 1e-8, Curve())


@pytest.mark.parametrize("drop", [0.0, 0.3, 1.0])
def test_points_are_spent_as_far_as_allowed(drop: float) -> None:
    curve = Curve()
    found = find_rate(Budget(drop=drop), 1e-8, curve)
    assert found.drop is not None
    assert drop - 0.03 <= found.drop <= drop
    assert found.rate == max(r for r in list(curve.rates) if (curve(r).drop or 0) <= drop)


def test_a_budget_that_nothing_can_fill_ends_where_nothing_grows() -> None:
    curve = Curve(most=2.0)
    found = find_rate(Budget(bits=20), 1e-8, curve)
    assert found.bits == 2.0
    assert len(curve.rates) <= 6


@pytest.mark.parametrize(("budget", "nearest"), [(Budget(bits=0.1), "0.200 bits"), (Budget(drop=0.0), "points")])
def test_what_cannot_be_met_says_how_near_it_came(budget: Budget, nearest: str) -> None:
    def hopeless(rate: float) -> Trial:
        trial = Curve()(rate)
        return Trial(rate, trial.megabytes, trial.bits, 0.01, drop=5.0)

    with pytest.raises(BudgetNotMet, match=f"no network meets the budget; the nearest is at rate .*{nearest}"):
        find_rate(budget, 1e-8, hopeless)


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"bits": 0.0}, "bits = 0.0: must be a number above 0, or null"),
        ({"megabytes": -1.0}, "megabytes = -1.0: must be a number above 0, or null"),
        ({"drop": 100.0}, "drop = 100.0: must be a number from 0 to below 100, or null"),
        ({"bits": math.nan}, "bits = nan: must be a number above 0, or null"),
        ({"megabytes": 1.0, "drop": 1.0}, "drop = 1.0: must be null where megabytes is given: one budget"),
    ],
)
def test_budgets_that_are_none(given: dict[str, float], line: str) -> None:
    with pytest.raises(InvalidValueError, match=re.escape(line)):
        Budget(**given)
    assert not Budget().wanted
