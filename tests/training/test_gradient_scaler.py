"""Training with a gradient scaler, as in trainer.precision=16-mixed, which Lightning allows on a GPU alone."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from pwfn.bayesian.posterior import quantized_tensors, sampled, set_sigma, to_bayesian
from pwfn.bayesian.prior import ConstantPrior
from pwfn.bayesian.regularizer import LinearRegularizer
from pwfn.training.optimizer import SGD, Adam, AdamW, OptimizerSpec, before_step, build_optimizer
from tests.support.kernels import IMPLEMENTATIONS, implementation

BAD = 1  # the step whose gradients overflow


@pytest.fixture(autouse=True, params=IMPLEMENTATIONS)
def chosen(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    implementation(request.param)
    monkeypatch.setattr("pwfn.bayesian.kernels.choice._chosen", request.param)


def trained(spec: OptimizerSpec, scale: float | None) -> list[Tensor]:
    """What some steps make of the parameters, with a scaler in the order that Lightning keeps."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Flatten(), nn.Linear(27, 4))
    to_bayesian(network)
    set_sigma(network, ConstantPrior(1e-2))
    for tensor in quantized_tensors(network):
        tensor.gaussian.assignment.masked_fill_(torch.rand(tensor.mu.shape) < 0.5, 0)
    optimizer = build_optimizer(network, spec, scaled=scale is not None)
    scaler = torch.amp.GradScaler("cpu", init_scale=scale or 1.0, enabled=scale is not None)
    fixed = [(t.mu.detach()[t.gaussian.assignment == 0], t) for t in quantized_tensors(network)]
    for number in range(4):
        images = torch.randn(5, 1, 5, 5)
        torch.manual_seed(number)
        optimizer.zero_grad()
        with sampled(network, LinearRegularizer(0.1, 1.0)) as penalty:
            loss = network(images).square().mean() + penalty
        if number == BAD:
            if scale is None:
                continue  # a scaler leaves this step out
            loss = loss * math.inf
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        before_step(network, spec, optimizer)
        scaler.step(optimizer)
        scaler.update(scale)
    assert all(torch.equal(before, t.mu.detach()[t.gaussian.assignment == 0]) for before, t in fixed)
    return [parameter.detach() for parameter in network.parameters()]


@pytest.mark.parametrize("spec", [SGD(lr=0.1, clip_norm=0.1), Adam(weight_decay=0.1), AdamW(clip_norm=None)])
def test_a_scaler_changes_nothing_and_steps_that_overflow_are_left_out(spec: OptimizerSpec) -> None:
    torch.testing.assert_close(trained(spec, 2.0**12), trained(spec, None))
