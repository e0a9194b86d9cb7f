"""One draw of all weights: how long it lasts, how it is distributed, and what is trained through it."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from pwfn.bayesian.posterior import at_mean, quantized_tensors, sampled, to_bayesian
from pwfn.bayesian.prior import MIN_SIGMA
from pwfn.bayesian.regularizer import LinearRegularizer
from pwfn.training.optimizer import SGD, Adam, AdamW, OptimizerSpec, before_step, build_optimizer
from tests.support.networks.zoo import NAMES, X, set_sigma_of, zoo


def test_inside_the_block_every_weight_is_one_draw() -> None:
    model, plain = zoo(), zoo()
    set_sigma_of(model, 0.3)
    with sampled(model):
        first = model(X)
        assert torch.equal(model(X), first)
        assert model.conv.weight is model.conv.weight
        assert model.tied.weight is model.shared.weight
        assert model.again.bias is model.shared.bias
        assert not torch.equal(model.tied.bias, model.shared.bias)
        weights = {name: getattr(model.get_submodule(name.split(".")[0]), name.split(".")[1]) for name in NAMES}
        plain.load_state_dict({name: value.detach() for name, value in weights.items()}, strict=False)
        assert torch.equal(plain(X), first)
    with sampled(model):
        assert not torch.equal(model(X), first)


def test_the_draw_ends_with_the_block_even_after_an_error() -> None:
    model = zoo()
    plain = model(X)
    set_sigma_of(model, 0.3)
    for block in (sampled, at_mean):
        with pytest.raises(KeyError), block(model):
            raise KeyError
        assert torch.equal(model(X), plain)
        assert model.conv.weight is quantized_tensors(model)[0].mu


def test_the_seed_decides_the_draw() -> None:
    model = zoo()
    set_sigma_of(model, 0.3)
    outputs = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        with sampled(model):
            outputs.append(model(X))
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[0], outputs[2])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_draws_are_normal_with_mean_mu_and_deviation_sigma(dtype: torch.dtype) -> None:
    n = 300 * 1000
    model = nn.Linear(300, 1000, dtype=dtype)
    (weight, _) = to_bayesian(model)
    with torch.no_grad():
        weight.gaussian.sigma.copy_(torch.linspace(0.01, 2, n).view(1000, 300))
    torch.manual_seed(3)
    draws = []
    for _ in range(2):
        with sampled(model):
            draws.append((model.weight.detach().double() - weight.mu.double()) / weight.gaussian.sigma.double())
    for eps in draws:
        flat = eps.flatten()
        # within four standard errors of the mean, deviation, skewness and kurtosis of n normal numbers
        assert abs(flat.mean()) < 4 / math.sqrt(n)
        assert abs(flat.std() - 1) < 4 / math.sqrt(2 * n)
        assert abs((flat**3).mean()) < 4 * math.sqrt(15 / n)
        assert abs((flat**4).mean() - 3) < 4 * math.sqrt(96 / n)
        for lag in (1, 512, 1024):  # a kernel makes 1024 numbers at once, of two kinds
            assert abs((flat[lag:] * flat[:-lag]).mean()) < 4 / math.sqrt(n - lag)
    assert abs((draws[0] * draws[1]).mean()) < 4 / math.sqrt(n)


def test_a_sigma_that_became_negative_is_sampled_as_the_smallest() -> None:
    model = nn.Linear(50, 50)
    (weight, _) = to_bayesian(model)
    with torch.no_grad():
        weight.gaussian.sigma.fill_(-1.0)
        weight.mu.zero_()
    with sampled(model):
        drawn = model.weight.detach()
    assert 0.8 * MIN_SIGMA < drawn.std().item() < 1.2 * MIN_SIGMA
    assert torch.equal(weight.gaussian.effective_sigma, torch.full((50, 50), MIN_SIGMA))


@pytest.mark.parametrize(
    "spec", [SGD(weight_decay=0.1), Adam(weight_decay=0.1), AdamW(weight_decay=0.1)], ids=lambda s: type(s).__name__
)
def test_weights_in_channels_last_are_drawn_and_trained_like_contiguous_ones(spec: OptimizerSpec) -> None:
    sigma, fixed = 0.1 * torch.rand(5, 3, 3, 3), torch.rand(5, 3, 3, 3) < 0.5
    ends = []
    for memory_format in (torch.contiguous_format, torch.channels_last):
        torch.manual_seed(0)
        model = nn.Conv2d(3, 5, 3).to(memory_format=memory_format)  # type: ignore[call-overload]
        to_bayesian(model)
        weight = quantized_tensors(model)[0]
        before = weight.mu.detach().clone()
        with torch.no_grad():
            weight.gaussian.sigma.copy_(sigma)
            weight.gaussian.assignment[fixed] = 0
        optimizer = build_optimizer(model, spec)
        torch.manual_seed(1)
        with sampled(model, LinearRegularizer(0.1, 0.05)) as penalty:
            (model(X[:, :3]).square().sum() + penalty).backward()
        before_step(model, spec, optimizer)
        optimizer.step()
        assert torch.equal(weight.mu[fixed], before[fixed])
        assert torch.equal(weight.gaussian.sigma[fixed], sigma[fixed])
        ends.append((weight.mu.detach(), weight.gaussian.sigma.detach()))
    for contiguous, channels_last in zip(*ends, strict=True):
        torch.testing.assert_close(contiguous, channels_last)


def test_at_mean_and_a_step_train_mu_of_free_weights_alone() -> None:
    model = nn.Linear(4, 3)
    weight, bias = to_bayesian(model)
    weight.gaussian.assignment[0, :2] = 7
    with at_mean(model):
        model(torch.ones(2, 4)).sum().backward()
    spec = SGD(weight_decay=0, clip_norm=None)
    before_step(model, spec, build_optimizer(model, spec))
    expected = torch.full((3, 4), 2.0)
    expected[0, :2] = 0
    assert weight.mu.grad is not None
    assert torch.equal(weight.mu.grad, expected)
    assert bias.mu.grad is not None
    assert torch.equal(bias.mu.grad, torch.full((3,), 2.0))
    assert weight.gaussian.sigma.grad is None
