"""Optimizer specs: learning rates, decay on free weights alone, refusals, one step against the equations."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from pwfn.errors import InvalidValueError
from pwfn.training.optimizer import SGD, Adam, AdamW, OptimizerSpec

NAN = float("nan")
KINDS = [SGD, Adam, AdamW]


def test_constant_rate() -> None:
    assert [SGD().lr_factor(step, 10) for step in range(11)] == [1.0] * 11


def test_cosine_and_linear_go_from_one_to_zero() -> None:
    cosine, linear = SGD(lr_schedule="cosine"), SGD(lr_schedule="linear")
    for step in range(21):
        assert cosine.lr_factor(step, 20) == pytest.approx((1 + math.cos(math.pi * step / 20)) / 2, abs=1e-15)
        assert linear.lr_factor(step, 20) == pytest.approx(1 - step / 20, abs=1e-15)
    assert linear.lr_factor(35, 20) == 0.0  # a phase that turns out longer than it was said to be
    assert cosine.lr_factor(35, 20) == 0.0


def test_warmup_rises_linearly_and_then_the_schedule_starts_at_its_peak() -> None:
    factors = [SGD(lr_schedule="linear", warmup=0.4).lr_factor(step, 10) for step in range(11)]
    assert factors == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6, 0.0])
    assert [SGD(warmup=0.25).lr_factor(step, 4) for step in range(4)] == [0.5, 1.0, 1.0, 1.0]


@pytest.mark.parametrize("steps", [0, 1])
@pytest.mark.parametrize("schedule", ["constant", "cosine", "linear"])
def test_a_phase_of_hardly_any_steps_starts_at_the_peak(steps: int, schedule: str) -> None:
    assert SGD(lr_schedule=schedule).lr_factor(0, steps) == 1.0  # type: ignore[arg-type]


def test_build_gives_the_settings_to_torch_and_to_each_group_its_decay() -> None:
    groups = [{"params": [nn.Parameter(torch.ones(2))], "weight_decay": decay} for decay in (0.1, 0.0)]
    sgd = SGD(lr=0.3, momentum=0.8, nesterov=True, weight_decay=0.1).build(groups)
    assert isinstance(sgd, torch.optim.SGD)
    assert [(g["lr"], g["momentum"], g["nesterov"]) for g in sgd.param_groups] == [(0.3, 0.8, True)] * 2
    assert [g["weight_decay"] for g in sgd.param_groups] == [0.1, 0.0]
    for kind, made in ((Adam, torch.optim.Adam), (AdamW, torch.optim.AdamW)):
        adam = kind(lr=0.3, betas=(0.5, 0.6), weight_decay=0.1).build(groups)
        assert type(adam) is made
        assert [(g["lr"], g["betas"]) for g in adam.param_groups] == [(0.3, (0.5, 0.6))] * 2
        assert [g["weight_decay"] for g in adam.param_groups] == [0.1, 0.0]


def parameter_with_grad() -> tuple[nn.Parameter, Tensor]:
    parameter = nn.Parameter(torch.tensor([1.0, -2.0, 3.0, 4.0]))
    parameter.grad = torch.tensor([0.5, 0.5, 0.0, 0.0])
    return parameter, torch.tensor([True, False, True, False])


@pytest.mark.parametrize("kind", [SGD, Adam])
def test_l2_decay_joins_the_gradient_of_free_weights(kind: type[OptimizerSpec]) -> None:
    parameter, free = parameter_with_grad()
    kind(weight_decay=0.1).decay([(parameter, free)], lr=9.0)
    assert parameter.grad is not None
    torch.testing.assert_close(parameter.grad, torch.tensor([0.6, 0.5, 0.3, 0.0]))
    assert parameter.tolist() == [1.0, -2.0, 3.0, 4.0]
    kind(weight_decay=0.1).decay([(parameter, free)], lr=9.0, divided_by=2.0)
    torch.testing.assert_close(parameter.grad, torch.tensor([0.8, 0.5, 0.9, 0.0]))


def test_adamw_decay_moves_free_weights_and_leaves_the_gradient() -> None:
    parameter, free = parameter_with_grad()
    AdamW(weight_decay=0.1).decay([(parameter, free)], lr=0.5)
    torch.testing.assert_close(parameter.detach(), torch.tensor([0.95, -2.0, 2.85, 4.0]))
    assert parameter[1] == -2.0
    assert parameter[3] == 4.0
    assert parameter.grad is not None
    assert parameter.grad.tolist() == [0.5, 0.5, 0.0, 0.0]


@pytest.mark.parametrize("kind", KINDS)
def test_no_decay_at_zero_and_none_without_a_gradient(kind: type[OptimizerSpec]) -> None:
    parameter, free = parameter_with_grad()
    kind(weight_decay=0.0).decay([(parameter, free)], lr=1.0)
    assert parameter.grad is not None
    assert parameter.grad.tolist() == [0.5, 0.5, 0.0, 0.0]
    parameter.grad = None
    kind(weight_decay=0.5).decay([(parameter, free)], lr=1.0)
    assert parameter.grad is None
    assert parameter.tolist() == [1.0, -2.0, 3.0, 4.0]


def test_faults_are_named_at_once() -> None:
    with pytest.raises(InvalidValueError) as caught:
        SGD(lr=0, weight_decay=-1, clip_norm=0, lr_schedule="step", warmup=1, momentum=1, nesterov=False)  # type: ignore[arg-type]
    assert [str(fault) for fault in caught.value.faults] == [
        "lr = 0: must be a number above 0",
        "weight_decay = -1: must be a number from 0",
        "clip_norm = 0: must be a number above 0, or null for no clipping",
        "lr_schedule = 'step': must be one of constant, cosine, linear",
        "warmup = 1: must be from 0 to below 1",
        "momentum = 1: must be from 0 to below 1",
    ]
    with pytest.raises(InvalidValueError, match="nesterov = True: must be false where momentum is 0"):
        SGD(momentum=0, nesterov=True)
    for betas in ((0.9,), (0.9, 1.0), (-0.1, 0.9)):
        with pytest.raises(InvalidValueError, match=r"betas = .*: must be two numbers from 0 to below 1"):
            AdamW(betas=betas)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["lr", "weight_decay", "clip_norm", "warmup", "momentum"])
def test_nan_is_refused(name: str) -> None:
    with pytest.raises(InvalidValueError, match=f"^{name} = nan"):
        SGD(**{name: NAN})
