"""Steps on a Bayesian network: torch's own where nothing is fixed, and the same on the free weights where some are."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pwfn.bayesian.gaussian_weight import FREE
from pwfn.bayesian.posterior import quantized_tensors, sampled, to_bayesian
from pwfn.training.optimizer import SGD, Adam, AdamW, OptimizerSpec, before_step, build_optimizer

REFERENCES: dict[type[OptimizerSpec], Callable[[Any], torch.optim.Optimizer]] = {
    SGD: lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.2),
    Adam: lambda p: torch.optim.Adam(p, lr=0.1, weight_decay=0.2),
    AdamW: lambda p: torch.optim.AdamW(p, lr=0.1, weight_decay=0.2),
}
CLIP_NORMS = [None, 0.7, 1e6]  # off, always at work, never


def network(fixed: float) -> nn.Module:
    """One Bayesian layer and a norm, in float64; a share `fixed` of every quantized tensor is fixed."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5)).double()
    for tensor in to_bayesian(model):
        tensor.gaussian.assignment.masked_fill_(torch.rand(tensor.mu.shape) < fixed, 0)
        tensor.gaussian.sigma.data.uniform_(0.01, 0.1)
    return model


def masks(model: nn.Module) -> dict[int, Tensor]:
    """For every parameter, 1 where it may move."""
    free = {id(p): torch.ones_like(p) for p in model.parameters()}
    for tensor in quantized_tensors(model):
        of_tensor = (tensor.gaussian.assignment == -1).double()
        free[id(tensor.mu)] = of_tensor
        free[id(tensor.gaussian.sigma)] = torch.ones_like(of_tensor) if tensor.gaussian.retrain_sigma else of_tensor
    return free


def naive_steps(model: nn.Module, kind: type[OptimizerSpec], clip_norm: float | None, steps: int) -> list[Tensor]:
    """Torch's reference optimizer, with its decay, not fused, on copies whose fixed weights are put back each time."""
    free = list(masks(model).values())
    start = [p.detach().clone() for p in model.parameters()]
    copies = [nn.Parameter(p.clone()) for p in start]
    optimizer = REFERENCES[kind](copies)
    for _ in range(steps):
        for parameter, mask in zip(copies, free, strict=True):
            parameter.grad = parameter.detach().cos() * mask
        if clip_norm is not None:
            nn.utils.clip_grad_norm_(copies, clip_norm)
        optimizer.step()
        with torch.no_grad():
            for parameter, mask, value in zip(copies, free, start, strict=True):
                parameter.copy_(torch.where(mask > 0, parameter, value))
    return [p.detach() for p in copies]


@pytest.mark.parametrize("fixed", [0.0, 0.6])
@pytest.mark.parametrize("retrain", [False, True])
@pytest.mark.parametrize("clip_norm", CLIP_NORMS)
@pytest.mark.parametrize("kind", list(REFERENCES))
@pytest.mark.parametrize("fused", [True, None])
def test_steps_are_those_of_torch_on_what_may_move(
    kind: type[OptimizerSpec],
    clip_norm: float | None,
    retrain: bool,
    fixed: float,
    fused: bool | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pwfn.training.optimizer._fused", lambda *_, **__: fused)
    model = network(fixed)
    for tensor in quantized_tensors(model):
        tensor.gaussian.retrain_sigma.fill_(retrain)
    start = [p.detach().clone() for p in model.parameters()]
    expected = naive_steps(model, kind, clip_norm, 5)
    spec = kind(lr=0.1, weight_decay=0.2, clip_norm=clip_norm)
    optimizer = build_optimizer(model, spec)
    assert optimizer.defaults["fused"] is fused
    free, means = masks(model), {id(tensor.mu) for tensor in quantized_tensors(model)}
    for _ in range(5):
        for parameter in model.parameters():
            parameter.grad = parameter.detach().cos() * (1 if id(parameter) in means else free[id(parameter)])
        before_step(model, spec, optimizer)
        optimizer.step()
    exact = {"rtol": 1e-9, "atol": 1e-12}
    single = {"rtol": 1e-6, "atol": 1e-9}  # a fused step takes the factor of its clipping in single precision
    for parameter, want, was in zip(model.parameters(), expected, start, strict=True):
        torch.testing.assert_close(parameter.detach(), want, **(single if fused and clip_norm == 0.7 else exact))
        stays = free[id(parameter)] == 0
        assert torch.equal(parameter.detach()[stays], was[stays])
        assert bool((parameter.detach() != was)[~stays].all())


def test_clipping_ends_when_gradients_are_small_again() -> None:
    """The factor of one step must not stay behind for the next."""
    model = nn.Linear(1, 1, bias=False)
    (tensor,) = to_bayesian(model)
    spec = SGD(lr=1.0, momentum=0.0, weight_decay=0.0, clip_norm=1.0)
    optimizer = build_optimizer(model, spec)
    moves = []
    for size in (50.0, 0.5):
        before = tensor.mu.item()
        tensor.mu.grad = torch.full((1, 1), size)
        before_step(model, spec, optimizer)
        optimizer.step()
        moves.append(before - tensor.mu.item())
    assert moves == pytest.approx([1.0, 0.5], rel=1e-5)


def test_only_what_is_trained_is_given_to_the_optimizer() -> None:
    model = network(0.5)
    for tensor in quantized_tensors(model):
        tensor.gaussian.sigma.requires_grad_(False)
    given = {id(p) for group in build_optimizer(model, SGD()).param_groups for p in group["params"]}
    assert given == {id(p) for p in model.parameters() if p.requires_grad}


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_gradients_that_are_no_numbers_do_not_pass_for_small_ones(bad: float) -> None:
    model = network(0.0)
    spec = SGD(clip_norm=1.0)
    optimizer = build_optimizer(model, spec)
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, bad)
    before_step(model, spec, optimizer)
    optimizer.step()
    assert not any(bool(torch.isfinite(p).any()) for p in model.parameters())


class Sum(nn.Module):
    """Two weights whose gradients are one tensor, and one weight under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.tied = (nn.Linear(4, 3, bias=False) for _ in range(3))
        self.tied.weight = self.first.weight

    def forward(self) -> Tensor:
        return (self.first.weight + self.second.weight + 0 * self.tied.weight).square().sum()


def test_gradients_that_several_weights_are_given_are_masked_for_each_alone() -> None:
    torch.manual_seed(0)
    model, spec = Sum(), SGD(weight_decay=0, clip_norm=None)
    first, second = to_bayesian(model)
    first.gaussian.assignment[0] = second.gaussian.assignment[1] = 5
    optimizer = build_optimizer(model, spec)
    for _ in range(2):  # accumulated
        with sampled(model) as penalty:
            (model() + penalty).backward()
    full = (4 * (first.mu + second.mu)).detach()
    before_step(model, spec, optimizer)
    for tensor in (first, second):
        assert tensor.mu.grad is not None
        torch.testing.assert_close(tensor.mu.grad, full * (tensor.gaussian.assignment == FREE))


def test_the_norm_is_that_of_the_free_gradients() -> None:
    model, spec = network(0.6), SGD(clip_norm=1e6)
    optimizer, free = build_optimizer(model, spec), masks(model)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    for tensor in quantized_tensors(model):  # a draw leaves those of fixed sigmas at 0
        tensor.gaussian.sigma.grad = free[id(tensor.gaussian.sigma)].clone()
    norm = before_step(model, spec, optimizer)
    assert norm is not None
    assert norm.item() == pytest.approx(math.sqrt(sum(m.sum().item() for m in free.values())))
