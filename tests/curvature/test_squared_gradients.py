"""Squared gradients, against one backward pass a batch on a plain copy of the network."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pwfn.bayesian.gaussian_weight import FREE
from pwfn.bayesian.posterior import quantized_tensors, set_sigma, to_bayesian
from pwfn.bayesian.prior import Pow2DistancePrior
from pwfn.curvature.squared_gradients import squared_gradients


def of_means(network: nn.Module, data: list[tuple[Tensor, Tensor]], count: int) -> Tensor:
    return squared_gradients(network, [tensor.mu for tensor in quantized_tensors(network)], data, count)


def plain() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(64, 3)
    )


def network() -> nn.Module:
    made = plain()
    to_bayesian(made)
    set_sigma(made, Pow2DistancePrior())
    return made


def batches(count: int) -> list[tuple[Tensor, Tensor]]:
    numbers = torch.Generator().manual_seed(5)
    return [
        (torch.randn(7, 1, 6, 6, generator=numbers), torch.randint(0, 3, (7,), generator=numbers)) for _ in range(count)
    ]


def naive(data: list[tuple[Tensor, Tensor]]) -> Tensor:
    made = plain().eval()
    total = torch.zeros(4 * 9 + 4 + 64 * 3 + 3)
    for images, labels in data:
        made.zero_grad()
        F.cross_entropy(made(images), labels).backward()
        total += torch.cat([p.grad.flatten() for layer in (made[0], made[5]) for p in layer.parameters()]).square()
    return total / len(data)


def test_they_are_those_of_backward_at_the_mean_fixed_weights_included() -> None:
    made, data = network(), batches(5)
    for tensor in quantized_tensors(made):
        tensor.gaussian.assignment.view(-1)[::2] = 0
        assert FREE in tensor.gaussian.assignment
    torch.testing.assert_close(of_means(made, data, 3), naive(data[:3]))
    torch.testing.assert_close(of_means(made, data, 99), naive(data))
    assert (of_means(made, data, 3) > 0).any()


def test_nothing_of_the_network_or_of_the_random_stream_changes() -> None:
    made = network()
    made.train()
    made[1].eval()
    made[5].parametrizations.weight.original.requires_grad_(False)
    state, stream = {k: v.clone() for k, v in made.state_dict().items()}, torch.get_rng_state()
    modes = [module.training for module in made.modules()]
    required = [parameter.requires_grad for parameter in made.parameters()]
    with torch.no_grad():  # a caller's choice
        of_means(made, batches(2), 2)
        assert not torch.is_grad_enabled()
    assert all(torch.equal(v, state[k]) for k, v in made.state_dict().items())
    assert torch.equal(stream, torch.get_rng_state())
    assert modes == [module.training for module in made.modules()]
    assert required == [parameter.requires_grad for parameter in made.parameters()]
    assert all(parameter.grad is None for parameter in made.parameters())


def test_a_weight_that_the_network_does_not_use_has_none() -> None:
    class Partly(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.unused = plain(), nn.Linear(2, 2)

        def forward(self, images: Tensor) -> Tensor:
            logits: Tensor = self.used(images)
            return logits

    made = Partly()
    to_bayesian(made)
    squared = of_means(made, batches(1), 1)
    assert squared[-6:].tolist() == [0.0] * 6
    torch.testing.assert_close(squared[:-6], naive(batches(1)))


def test_no_batch_is_an_error() -> None:
    with pytest.raises(ValueError, match="no training images"):
        of_means(network(), [], 4)
