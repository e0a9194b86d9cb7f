"""Regularizers: gradients against finite differences and against an autograd graph written out naively."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from pwfn.bayesian.kernels.noise import standard_normal
from pwfn.bayesian.posterior import QuantizedTensor, quantized_tensors, sampled, to_bayesian
from pwfn.bayesian.regularizer import (
    ExponentialRegularizer,
    LinearOnGradRegularizer,
    LinearRegularizer,
    NoRegularizer,
    Regularizer,
)
from pwfn.bayesian.sampling import fresh_key
from pwfn.errors import InvalidValueError

KINDS = (LinearRegularizer, ExponentialRegularizer, LinearOnGradRegularizer)
PENALTIES = [
    NoRegularizer(),
    LinearRegularizer(0.7, 0.05),
    ExponentialRegularizer(0.7, 0.05),
    LinearRegularizer(0.3, 2.0),
    ExponentialRegularizer(0.3, 2.0),
]


def naive_penalty(rule: Any, sigma: Tensor, eps: Tensor) -> Tensor:
    """The loss terms of the method's table, element by element."""
    if isinstance(rule, NoRegularizer):
        return 0 * sigma
    gap = F.relu(rule.ceiling - sigma)
    if isinstance(rule, LinearRegularizer):
        return rule.strength / 2 * gap**2 * eps.abs()
    return rule.strength * (torch.exp(gap) - gap - 1) * eps.abs()


def values() -> tuple[Tensor, Tensor, Tensor]:
    numbers = torch.Generator().manual_seed(4)
    sigma = torch.cat([torch.linspace(-0.01, 0.12, 20).double(), torch.linspace(0.5, 2.5, 10).double()]) + 1e-4
    eps = torch.randn(30, generator=numbers, dtype=torch.float64)
    return sigma, eps, torch.rand(30, generator=numbers) < 0.6


@pytest.mark.parametrize("rule", PENALTIES, ids=repr)
@pytest.mark.parametrize("masked", [False, True])
def test_gradient_is_the_finite_difference_of_the_penalty(rule: Regularizer, masked: bool) -> None:
    sigma, eps, mask = values()
    free = mask if masked else None
    gradient = rule.gradient(sigma, eps, free, torch.full_like(sigma, 9.0))
    h = 1e-6
    for i in range(len(sigma)):
        step = torch.zeros_like(sigma)
        step[i] = h
        slope = (rule.penalty(sigma + step, eps, free) - rule.penalty(sigma - step, eps, free)) / (2 * h)
        assert gradient[i].item() == pytest.approx(slope.item(), rel=1e-6, abs=1e-9)
        if masked and not mask[i]:
            assert gradient[i] == 0


@pytest.mark.parametrize("rule", PENALTIES, ids=repr)
@pytest.mark.parametrize("masked", [False, True])
def test_penalty_and_gradient_are_those_of_the_table(rule: Any, masked: bool) -> None:
    sigma, eps, mask = values()
    free = mask if masked else None
    kept = mask.double() if masked else torch.ones_like(sigma)
    before = sigma.clone(), eps.clone(), mask.clone()
    torch.testing.assert_close(rule.penalty(sigma, eps, free), (naive_penalty(rule, sigma, eps) * kept).sum())
    gap = F.relu(getattr(rule, "ceiling", 0.0) - sigma)
    pull = gap if isinstance(rule, LinearRegularizer) else torch.exp(gap) - 1
    expected = 0 * sigma if isinstance(rule, NoRegularizer) else -rule.strength * pull * eps.abs() * kept
    made = rule.gradient(sigma, eps, free, torch.ones_like(sigma))
    torch.testing.assert_close(made, expected, rtol=1e-12, atol=1e-16)
    assert all(torch.equal(a, b) for a, b in zip(before, (sigma, eps, mask), strict=True))


@pytest.mark.parametrize("masked", [False, True])
def test_linear_on_grad_is_the_formula_of_one_tensor(masked: bool) -> None:
    sigma, eps, mask = values()
    g = torch.linspace(-0.3, 0.4, 30, dtype=torch.float64)
    rule = LinearOnGradRegularizer(strength=0.7, ceiling=0.05, temperature=0.1)
    active = [i for i in range(30) if sigma[i] < 0.05 and (bool(mask[i]) or not masked)]
    weights = {i: math.exp(-(1 - abs(eps[i].item())) * abs(g[i].item()) / 0.1) for i in active}
    total = sum(weights.values())
    expected = [abs(g[i].item()) - 0.7 * weights[i] / total if i in weights else 0.0 for i in range(30)]
    made = rule.gradient(sigma, eps, mask if masked else None, g)
    assert 0 < len(active) < 30
    torch.testing.assert_close(made, torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=1e-15)
    assert rule.penalty(sigma, eps, None).item() == 0


def test_linear_on_grad_with_nothing_below_the_ceiling_adds_nothing() -> None:
    one = torch.ones(3)
    assert torch.equal(LinearOnGradRegularizer().gradient(one, one, None, one), torch.zeros(3))
    assert torch.equal(
        LinearOnGradRegularizer().gradient(0 * one, one, torch.zeros(3, dtype=torch.bool), one), torch.zeros(3)
    )


def plain_network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(2, 3, 3), nn.Flatten(), nn.BatchNorm1d(12), nn.Linear(12, 4)).double()


PLAIN = plain_network()  # made once: making it draws random numbers


def network() -> nn.Module:
    """A tiny Bayesian model with sigmas around the ceiling, some below 2^-30, and some weights fixed."""
    torch.manual_seed(0)
    model = plain_network()
    for tensor in to_bayesian(model):
        with torch.no_grad():
            tensor.gaussian.sigma.uniform_(-0.005, 0.08)
            tensor.gaussian.assignment[torch.rand(tensor.mu.shape) < 0.3] = 0
    return model


IMAGES = torch.randn(6, 2, 4, 4, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
LABELS = torch.tensor([0, 1, 2, 3, 0, 1])


def gradients(model: nn.Module, rule: Regularizer, scales: list[float], retrain: bool = False) -> dict[str, Tensor]:
    """Gradients of mu and sigma after one backward per entry of `scales`, each over its part of the images."""
    for tensor in quantized_tensors(model):
        tensor.gaussian.retrain_sigma.fill_(retrain)
    for images, labels, scale in zip(IMAGES.chunk(len(scales)), LABELS.chunk(len(scales)), scales, strict=True):
        with sampled(model, rule) as penalty:
            loss = F.cross_entropy(model(images), labels) + penalty
        (loss * scale).backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def noise(tensors: list[QuantizedTensor]) -> dict[str, Tensor]:
    """The noise of the next draw, from the global generator."""
    made = standard_normal([t.mu for t in tensors], list(range(len(tensors))), fresh_key())
    return {t.name: eps for t, eps in zip(tensors, made, strict=True)}


def naive_gradients(model: nn.Module, rule: Regularizer, parts: int = 1, retrain: bool = False) -> dict[str, Tensor]:
    """The same with w = mu + max(sigma, 2^-30) * eps written out, the same eps, and the masks of sigma put on."""
    tensors = quantized_tensors(model)
    leaves = {name: p.detach().clone().requires_grad_() for name, p in model.named_parameters()}
    mu = {t.name: leaves[_key(t.name, "original")] for t in tensors}
    sigma = {t.name: leaves[_key(t.name, "0.sigma")] for t in tensors}
    norm = {name: p for name, p in leaves.items() if name in dict(PLAIN.named_parameters())}
    total = {name: torch.zeros_like(p) for name, p in leaves.items()}
    for images, labels in zip(IMAGES.chunk(parts), LABELS.chunk(parts), strict=True):
        eps = noise(tensors)
        weights = {n: mu[n] + torch.clamp(sigma[n], min=2.0**-30) * eps[n] for n in mu}
        loss = F.cross_entropy(functional_call(PLAIN, {**weights, **norm}, (images,)), labels)
        data = dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))
        for t in tensors:
            free = t.gaussian.assignment == -1
            key = _key(t.name, "0.sigma")
            added = torch.zeros_like(t.mu)
            if not t.gaussian.is_bias and isinstance(rule, LinearOnGradRegularizer):
                added = rule.gradient(sigma[t.name].detach(), eps[t.name], free, data[key])
            elif not t.gaussian.is_bias:
                leaf = sigma[t.name].detach().requires_grad_()
                (added,) = torch.autograd.grad(naive_penalty(rule, leaf, eps[t.name]).sum(), leaf)
            data[key] = data[key] * (free | retrain) + added * free
        total = {name: total[name] + data[name] / parts for name in total}
    return total


def _key(name: str, what: str) -> str:
    module, tensor = name.rsplit(".", 1)
    return f"{module}.parametrizations.{tensor}.{what}"


RULES = [NoRegularizer(), *(kind(0.3, 0.05) for kind in KINDS)]


@pytest.mark.parametrize("retrain", [False, True])
@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_sampled_backward_equals_the_graph_written_out(rule: Regularizer, retrain: bool) -> None:
    model = network()
    twin = copy.deepcopy(model)
    torch.manual_seed(11)
    made = gradients(model, rule, [1.0], retrain)
    torch.manual_seed(11)
    expected = naive_gradients(twin, rule, retrain=retrain)
    assert set(made) == set(expected)
    for name in made:
        torch.testing.assert_close(made[name], expected[name], rtol=1e-9, atol=1e-13, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("rule", RULES, ids=repr)
@pytest.mark.parametrize("scale", [1.0, 1024.0])
def test_accumulation_and_loss_scaling_do_not_change_the_balance(rule: Regularizer, scale: float) -> None:
    model = network()
    twin = copy.deepcopy(model)
    torch.manual_seed(12)
    made = gradients(model, rule, [scale / 2, scale / 2])
    torch.manual_seed(12)
    expected = naive_gradients(twin, rule, parts=2)
    for name in made:
        torch.testing.assert_close(made[name] / scale, expected[name], rtol=1e-9, atol=1e-13)


def test_the_penalty_counts_free_weights_and_no_biases() -> None:
    model, rule = network(), LinearRegularizer(0.3, 0.05)
    torch.manual_seed(13)
    with sampled(model, rule) as penalty:
        pass
    torch.manual_seed(13)
    expected = torch.zeros((), dtype=torch.float64)
    tensors = quantized_tensors(model)
    eps = noise(tensors)
    for t in tensors:
        if t.name.endswith("weight"):
            terms = naive_penalty(rule, t.gaussian.sigma.detach(), eps[t.name])
            expected += terms[t.gaussian.assignment == -1].sum()
    assert expected > 0
    torch.testing.assert_close(penalty.detach(), expected)


def test_without_the_penalty_in_the_loss_the_data_gradient_is_alone() -> None:
    made = {}
    for rule in (NoRegularizer(), LinearRegularizer(0.3, 0.05)):
        model = network()
        torch.manual_seed(14)
        with sampled(model, rule):
            F.cross_entropy(model(IMAGES), LABELS).backward()
        made[type(rule)] = [t.gaussian.sigma.grad for t in quantized_tensors(model)]
    for first, second in zip(made[NoRegularizer], made[LinearRegularizer], strict=True):
        assert first is not None
        assert second is not None
        assert torch.equal(first, second)
    # not each: BatchNorm takes the effect of the bias before it away
    assert sum(float(gradient.abs().sum()) for gradient in made[NoRegularizer] if gradient is not None) > 1


@pytest.mark.parametrize("kind", KINDS)
def test_settings_out_of_range_are_named_at_once(kind: type[LinearRegularizer]) -> None:
    with pytest.raises(InvalidValueError) as caught:
        kind(strength=-1.0, ceiling=0.0)
    assert [fault.name for fault in caught.value.faults] == ["strength", "ceiling"]
    with pytest.raises(InvalidValueError, match="temperature = 0: must be a number above 0"):
        LinearOnGradRegularizer(temperature=0)
