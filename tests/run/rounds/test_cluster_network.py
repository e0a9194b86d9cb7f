"""The whole network as one vector: what is clustered is what is written, and straying weights are found."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from pwfn.bayesian.flat_weights import FlatWeights, check_fixed
from pwfn.bayesian.posterior import QuantizedTensor, quantized_tensors, set_sigma, to_bayesian
from pwfn.bayesian.prior import Pow2DistancePrior
from pwfn.clustering import sigma_join
from pwfn.clustering.codebooks.codebook import AdditivePow2
from pwfn.clustering.rounds.greedy_round import cluster_round
from pwfn.clustering.rules import Greedy
from pwfn.run.rounds.cluster_network import cluster_network

RULE = Greedy(inc=1.5, zero_fix=False)
OPTIONS: dict[str, Any] = {"fraction": 0.6, "threshold": 1.5}


def network() -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(32, 10), nn.Linear(10, 10), nn.Linear(10, 10))
    model[4].weight = model[3].weight
    to_bayesian(model)
    set_sigma(model, Pow2DistancePrior())
    return model


def cluster(tensors: list[QuantizedTensor], before: FlatWeights, rule: str = "std_mu", **changes: Any) -> Any:
    codebook = AdditivePow2(b=6, max_order=3)
    options = {"rule": RULE, **OPTIONS, **changes}
    return cluster_network(tensors, before, codebook=codebook, sigma_join=getattr(sigma_join, rule), **options)


def test_flat_weights_are_the_tensors_one_after_the_other_tied_ones_once() -> None:
    model = network()
    tensors = quantized_tensors(model)
    with torch.no_grad():
        tensors[1].gaussian.sigma.copy_(torch.linspace(-1, 1, 8))
        tensors[0].gaussian.assignment[1, 2] = 4
    flat = FlatWeights.of(tensors)
    sizes = [8 * 27, 8, 320, 10, 100, 10, 10]
    assert [t.mu.numel() for t in tensors] == sizes
    assert flat.mu.shape == flat.sigma.shape == flat.assignment.shape == (sum(sizes),)
    at = 0
    for t, size in zip(tensors, sizes, strict=True):
        assert flat.mu[at : at + size].tolist() == t.mu.flatten().tolist()
        assert flat.assignment[at : at + size].tolist() == t.gaussian.assignment.flatten().tolist()
        sigma = [max(s, 2.0**-30) for s in t.gaussian.sigma.flatten().tolist()]
        assert flat.sigma[at : at + size].tolist() == sigma
        at += size
    assert not flat.mu.requires_grad
    assert not flat.sigma.requires_grad


@pytest.mark.parametrize("rule", ["std_mu", "divide_by_10", "allow_retraining"])
def test_the_network_holds_what_is_returned(rule: str) -> None:
    model = network()
    tensors = quantized_tensors(model)
    before = FlatWeights.of(tensors)
    copies = [x.clone() for x in (before.mu, before.sigma, before.assignment)]
    parameters = [(id(t.mu), id(t.gaussian.sigma)) for t in tensors]
    result = cluster(tensors, before, rule)
    options = {"inc": 1.5, "zero_fix": False, "codebook": AdditivePow2(b=6, max_order=3), **OPTIONS}
    expected = cluster_round(copies[0], copies[1], sigma_join=getattr(sigma_join, rule), **options)
    for name in ("mu", "sigma", "assignment", "codebook"):
        assert torch.equal(getattr(result, name), getattr(expected, name))
    assert result.threshold == expected.threshold
    assert not torch.equal(result.mu, copies[0])
    after = FlatWeights.of(quantized_tensors(model))
    assert torch.equal(after.mu, result.mu)
    assert torch.equal(after.assignment, result.assignment)
    assert torch.equal(torch.cat([t.gaussian.sigma.detach().flatten() for t in tensors]), result.sigma)
    for kept, copy in zip((before.mu, before.sigma, before.assignment), copies, strict=True):
        assert torch.equal(kept, copy)
    assert all(bool(t.gaussian.retrain_sigma) == (rule == "allow_retraining") for t in tensors)
    assert [(id(t.mu), id(t.gaussian.sigma)) for t in tensors] == parameters
    assert all(t.mu.requires_grad and t.mu.is_leaf for t in tensors)
    assert model[4].weight is model[3].weight


def test_the_next_clustering_decides_anew_about_assignments_and_retraining() -> None:
    tensors = quantized_tensors(network())
    cluster(tensors, FlatWeights.of(tensors), "allow_retraining", fraction=0.9)
    result = cluster(tensors, FlatWeights.of(tensors), "std_mu", fraction=0.3)
    after = FlatWeights.of(tensors)
    assert torch.equal(after.assignment, result.assignment)
    assert int((after.assignment >= 0).sum()) == -(-3 * len(after.mu) // 10)
    assert not any(bool(t.gaussian.retrain_sigma) for t in tensors)


def test_check_fixed_finds_a_weight_that_moved_by_one_bit() -> None:
    tensors = quantized_tensors(network())
    codebook = cluster(tensors, FlatWeights.of(tensors)).codebook
    check_fixed(tensors, codebook)
    weight = tensors[2]
    fixed, free = ((weight.gaussian.assignment >= 0) == wanted for wanted in (True, False))
    with torch.no_grad():
        weight.mu[free] += 1.0
    check_fixed(tensors, codebook)
    position = tuple(fixed.nonzero()[0].tolist())
    with torch.no_grad():
        weight.mu[position] = torch.nextafter(weight.mu[position], torch.tensor(9.0))
    with pytest.raises(RuntimeError, match=r"^1 fixed weights of 2\.weight moved during training; please report this$"):
        check_fixed(tensors, codebook)
    with torch.no_grad():
        weight.mu[fixed] += 1.0
    with pytest.raises(RuntimeError, match=rf"^{int(fixed.sum())} fixed weights of 2\.weight moved"):
        check_fixed(tensors, codebook)
    with torch.no_grad():
        weight.mu[fixed] = float("nan")
    with pytest.raises(RuntimeError, match="fixed weights"):
        check_fixed(tensors, codebook)
