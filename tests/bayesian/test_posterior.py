"""The Bayesian network: what is converted, what is drawn, what survives copying and saving."""

from __future__ import annotations

import copy
import gc
import math
import weakref

import pytest
import torch
from torch import Tensor, nn

from pwfn.bayesian import posterior
from pwfn.bayesian.gaussian_weight import FREE
from pwfn.bayesian.posterior import at_mean, quantized_tensors, sampled, set_sigma, to_bayesian, to_deterministic
from pwfn.bayesian.prior import MIN_SIGMA, ConstantPrior, Pow2DistancePrior
from pwfn.bayesian.regularizer import LinearRegularizer
from pwfn.training.optimizer import SGD, Adam, AdamW, OptimizerSpec, before_step, build_optimizer


class Zoo(nn.Module):
    """Every kind of layer that has weights of its own, and then some: grouped, transposed, shared, tied, read twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=2, dilation=2, groups=2)
        self.up = nn.ConvTranspose2d(4, 4, 2, stride=2, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.row = nn.Conv1d(4, 4, 1)
        self.scale = nn.Parameter(torch.full((4,), 0.5))
        self.one = nn.Linear(4, 1)
        self.shared = nn.Linear(4, 4)
        self.again = self.shared
        self.tied = nn.Linear(4, 4)
        self.tied.weight = self.shared.weight

    def forward(self, x: Tensor) -> Tensor:
        x = self.row(self.norm(self.up(self.conv(x))).flatten(2)).mean(2) * self.scale
        x = self.again(self.shared(x)) + self.tied(x) + x @ self.tied.weight
        return self.one(x)


def zoo() -> Zoo:
    torch.manual_seed(1)
    return Zoo().eval()


X = torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(2))
NAMES = ["conv.weight", "conv.bias", "up.weight", "row.weight", "row.bias", "one.weight", "one.bias",
         "shared.weight", "shared.bias", "tied.bias"]  # fmt: skip


def test_every_linear_and_convolution_weight_is_converted_once() -> None:
    model = zoo()
    parameters = dict(model.named_parameters())
    tensors = to_bayesian(model)
    assert [t.name for t in tensors] == NAMES
    assert [t.gaussian.is_bias for t in tensors] == [name.endswith("bias") for name in NAMES]
    for t in tensors:
        assert t.mu is parameters[t.name]
        assert torch.equal(t.gaussian.sigma, torch.full_like(t.mu, MIN_SIGMA))
        assert torch.equal(t.gaussian.assignment, torch.full_like(t.mu, FREE, dtype=torch.int32))
    assert quantized_tensors(model) == tensors
    assert isinstance(model.norm.weight, nn.Parameter)
    assert isinstance(model.scale, nn.Parameter)


def test_mean_is_bit_identical_and_the_way_back() -> None:
    model = zoo()
    state, plain = copy.deepcopy(model.state_dict()), model(X)
    types = [type(m) for m in model.modules()]
    set_sigma_of(model, 0.3)
    assert torch.equal(model(X), plain)
    with at_mean(model) as penalty:
        assert torch.equal(model(X), plain)
        assert penalty.item() == 0
    to_deterministic(model)
    assert [type(m) for m in model.modules()] == types
    assert model.state_dict().keys() == state.keys()
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert model.again is model.shared
    assert model.tied.weight is model.shared.weight
    assert all(isinstance(p, nn.Parameter) and p.requires_grad for p in model.parameters())
    assert torch.equal(model(X), plain)
    assert [t.name for t in to_bayesian(model)] == NAMES  # and forth again


def set_sigma_of(model: nn.Module, sigma: float) -> list[posterior.QuantizedTensor]:
    tensors = to_bayesian(model)
    set_sigma(model, ConstantPrior(sigma))
    return tensors


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


def test_deepcopy_is_independent_and_keeps_ties() -> None:
    model = zoo()
    set_sigma_of(model, 0.1)
    twin = copy.deepcopy(model)
    theirs = quantized_tensors(twin)
    assert [t.name for t in theirs] == NAMES
    with torch.no_grad():
        theirs[0].gaussian.assignment[0] = 5
        theirs[0].gaussian.sigma.add_(1)
        theirs[0].mu.add_(1)
    mine = quantized_tensors(model)[0]
    assert int(mine.gaussian.assignment.max()) == FREE
    assert mine.gaussian.effective_sigma.max().item() == pytest.approx(0.1)
    assert not torch.equal(twin(X), model(X))
    with sampled(twin):
        assert twin.tied.weight is twin.shared.weight
        assert model.conv.weight is mine.mu


def test_state_dict_carries_sigma_assignment_and_retraining() -> None:
    model = zoo()
    for i, t in enumerate(set_sigma_of(model, 0.1)):
        with torch.no_grad():
            t.gaussian.sigma.uniform_(0, 1)
            t.gaussian.assignment.random_(-1, 50)
            t.gaussian.retrain_sigma.fill_(i % 2)
    other = Zoo().eval()
    to_bayesian(other)
    other.load_state_dict(model.state_dict())
    for a, b in zip(quantized_tensors(model), quantized_tensors(other), strict=True):
        for mine, theirs in zip(
            (a.mu, *a.gaussian.state_dict().values()), (b.mu, *b.gaussian.state_dict().values()), strict=True
        ):
            assert torch.equal(mine, theirs)
            assert mine.dtype == theirs.dtype
    assert any(bool(t.gaussian.retrain_sigma) for t in quantized_tensors(other))
    assert torch.equal(model(X), other(X))
    keys = {key.rsplit(".", 1)[1] for key in model.state_dict() if ".conv." not in key and "parametrizations" in key}
    assert keys == {"original", "sigma", "assignment", "retrain_sigma"}


def test_patterns_add_and_take_away() -> None:
    model = zoo()
    tensors = to_bayesian(model, include=("norm.*", "scale"), exclude=("*.bias", "conv.*"))
    names = {t.name for t in tensors}
    assert names == {"scale", "norm.weight", "up.weight", "row.weight", "one.weight", "shared.weight"}
    plain = zoo()(X)
    assert torch.equal(model(X), plain)
    set_sigma(model, ConstantPrior(0.3))
    with sampled(model):
        assert not torch.equal(model.scale, plain_scale := zoo().scale)
    assert torch.equal(to_deterministic(model).scale, plain_scale)


@pytest.mark.parametrize("option", ["include", "exclude"])
def test_a_pattern_that_matches_nothing_is_refused_and_nothing_changes(option: str) -> None:
    model = zoo()
    with pytest.raises(ValueError, match=r"^the pattern 'layer9\.\*' matches no parameter of the model$"):
        to_bayesian(model, **{option: ("one.*", "layer9.*")})
    assert quantized_tensors(model) == []


def test_twice_and_nothing_to_quantize_are_refused() -> None:
    model = zoo()
    to_bayesian(model)
    with pytest.raises(ValueError, match=r"^the model is Bayesian already$"):
        to_bayesian(model)
    for empty, patterns in ((nn.BatchNorm1d(3), ()), (nn.Linear(2, 2), ("*",))):
        with pytest.raises(ValueError, match="no linear or convolution layer, and no pattern chose anything"):
            to_bayesian(empty, exclude=patterns)


def test_set_sigma_takes_the_prior_tensor_by_tensor() -> None:
    model = zoo()
    tensors = to_bayesian(model)
    set_sigma(model, Pow2DistancePrior())
    for t in tensors:
        assert torch.equal(t.gaussian.sigma.detach(), Pow2DistancePrior()(t.mu.detach()))
        assert t.gaussian.sigma.requires_grad
        assert t.gaussian.sigma.is_leaf


def test_masks_follow_the_assignments_and_are_not_left_on_the_device_that_a_network_leaves() -> None:
    model = nn.Linear(4, 3)
    weight, _ = to_bayesian(model)
    assert weight.gaussian.masks == (None, None)
    weight.gaussian.assignment[0, :2] = 7
    free = weight.gaussian.masks.mu
    assert free is not None
    assert weight.gaussian.masks.sigma is free
    assert (~free).nonzero().tolist() == [[0, 0], [0, 1]]
    weight.gaussian.retrain_sigma.fill_(True)
    assert weight.gaussian.masks.sigma is None
    kept = weakref.ref(weight.gaussian.masks.mu)
    del free
    assert kept() is not None
    model.to("meta")
    gc.collect()
    assert kept() is None


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
