"""Predictions that are right are believed; those that are not make moves dearer, and rounding is the floor."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pwfn.curvature import Watched
from pwfn.post_training.cluster_layers import copied
from pwfn.post_training.guard import STEEPEST, TRIES, Attempt, Measured, dearer, guarded
from pwfn.post_training.ranks import Ranks


class Layers:
    """A layer whose moves cost `truth` times what is predicted, and whose bits grow as they get dearer."""

    def __init__(self, truth: float, rounding: float = 1.0) -> None:
        self.truth, self.rounding = truth, rounding
        self.tried: list[tuple[float, float]] = []

    def attempt(self, price: float, trust: float) -> Attempt:
        self.tried.append((price, trust))
        predicted = 0.01 / price
        return Attempt(torch.tensor([price]), 100 + 10 * price, predicted, 0.5 + self.truth * predicted)

    def rounded(self) -> Attempt:
        return Attempt(torch.tensor([0.0]), 500, 0.0, 0.5 + self.rounding)

    def best(self, rate: float = 1e-6) -> float:
        """Return the price of the attempt that is kept, 0 for rounding."""
        return float(guarded(0.5, rate, self.attempt, self.rounded).values)


def test_a_right_prediction_is_tried_once() -> None:
    layers = Layers(truth=2.0)
    assert layers.best() == 1.0
    assert layers.tried == [(1.0, 1.0)]


def test_a_wrong_one_makes_moves_dearer_by_as_much_as_it_was_wrong() -> None:
    layers = Layers(truth=10.0)
    layers.best()
    assert [price for price, _ in layers.tried[:2]] == pytest.approx([1.0, 10.0])
    assert len(layers.tried) == TRIES
    assert [trust for _, trust in layers.tried] == pytest.approx([1, 1, 0.1, 0.01])


def test_where_bits_have_no_price_less_is_made_good_at_once() -> None:
    layers = Layers(truth=10.0)
    layers.best(rate=0.0)
    assert [trust for _, trust in layers.tried] == pytest.approx([1, 0.1, 0.01, 0.001])


def test_a_change_that_costs_less_than_the_bits_is_no_fault() -> None:
    layers = Layers(truth=10.0)
    assert layers.best(rate=1.0) == 1.0
    assert len(layers.tried) == 1


def test_rounding_is_the_floor() -> None:
    assert Layers(truth=1e6, rounding=1e-4).best() == 0.0
    assert Layers(truth=1e6, rounding=1e9).best() > 1.0


def test_moves_become_dearer_by_as_much_as_the_prediction_was_wrong_but_only_so_far() -> None:
    assert dearer(0.2, 0.1) == pytest.approx(2)
    for changed, predicted in ((1e3, 0.1), (1.0, 0.0), (float("inf"), 0.1), (float("nan"), 0.1)):
        assert dearer(changed, predicted) == STEEPEST


def test_an_answer_that_is_no_number_is_the_worst() -> None:
    torch.manual_seed(0)
    network, images = nn.Linear(4, 3), torch.randn(6, 4)
    watched = Watched(network, list(network.parameters()))
    measured = Measured(watched, copied(watched), images.split(4), Ranks())
    assert measured.divergence() == 0
    with torch.no_grad():
        before = network(images).log_softmax(1)
        network.weight.mul_(2)
        after = network(images).log_softmax(1)
    expected = nn.functional.kl_div(after, before, log_target=True, reduction="batchmean")
    assert measured.divergence() == pytest.approx(float(expected), rel=1e-5)
    assert measured.images == 6
    with torch.no_grad():
        network.weight.fill_(float("nan"))
    assert measured.divergence() == float("inf")
