"""The Bayesian network: what is converted, and what survives copying and saving."""

from __future__ import annotations

import copy
import gc
import weakref

import pytest
import torch
from torch import nn

from pwfn.bayesian.gaussian_weight import FREE
from pwfn.bayesian.posterior import at_mean, quantized_tensors, sampled, set_sigma, to_bayesian, to_deterministic
from pwfn.bayesian.prior import MIN_SIGMA, ConstantPrior, Pow2DistancePrior
from tests.support.networks.zoo import NAMES, X, Zoo, set_sigma_of, zoo


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
