"""Draws of a network for evaluation: decided by their seed, without a trace in the global streams."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import Tensor, nn

from pwfn.bayesian import set_sigma, to_bayesian
from pwfn.bayesian.prior import ConstantPrior
from pwfn.evaluation.predict import drawn


def network() -> nn.Linear:
    torch.manual_seed(0)
    layer = nn.Linear(4, 3)
    to_bayesian(layer)
    set_sigma(layer, ConstantPrior(0.3))
    return layer


def weights(layer: nn.Linear, seed: int, draw: int) -> Tensor:
    with drawn(layer, seed, draw):
        return layer.weight.clone()


def test_seed_and_number_decide_a_draw_and_the_global_stream_goes_on() -> None:
    layer = network()
    before = torch.get_rng_state()
    first = weights(layer, 1, 0)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(weights(layer, 1, 0), first)
    assert not torch.equal(weights(layer, 1, 1), first)
    assert not torch.equal(weights(layer, 2, 0), first)
    torch.manual_seed(5)
    assert torch.equal(weights(layer, 1, 0), first)


def test_the_streams_of_several_gpus_are_neither_read_nor_seeded(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = network()
    expected = weights(layer, 1, 0)

    def refuse(*arguments: object) -> None:
        raise AssertionError(f"a GPU's stream was used: {arguments}")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for name in ("get_rng_state", "set_rng_state", "manual_seed", "manual_seed_all"):
        monkeypatch.setattr(torch.cuda, name, refuse)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # torch warns where more than one GPU is forked
        assert torch.equal(weights(layer, 1, 0), expected)
