"""The diagonals of the Kronecker factors: against factors written out, and how steady they are."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from pwfn.bayesian.posterior import quantized_tensors, to_bayesian
from pwfn.curvature import Watched, find_layers, input_moments, kronecker_diagonal, output_factors, squared_gradients


def watched(network: nn.Module) -> Watched:
    to_bayesian(network)
    return Watched(network.eval(), [tensor.mu for tensor in quantized_tensors(network)])


def convolutional() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 6, 3, stride=2, groups=3, bias=False),
        nn.Flatten(), nn.Linear(54, 5),
    )  # fmt: skip


def images(count: int, seed: int = 0) -> Tensor:
    return torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(seed))


def test_it_is_the_product_of_the_factors_diagonals() -> None:
    net = watched(convolutional())
    batches = images(24).split(8)
    layers = find_layers(net.network, net.weights, batches[0][:2])
    outputs = output_factors(net, layers, batches, seed=3)
    inputs = input_moments(net, net, layers, batches, mixtures=[factor.mixture for factor in outputs])
    found = kronecker_diagonal(net, batches, seed=3).split([weight.numel() for weight in net.weights])
    for layer, factor, moments in zip(layers, outputs, inputs, strict=True):
        felt = factor.squares[:, :, None] * moments.own.diagonal(dim1=1, dim2=2)[:, None]
        of_weight = felt if layer.bias is None else felt[:, :, :-1]
        torch.testing.assert_close(found[layer.weight].double(), of_weight.flatten(), rtol=1e-5, atol=1e-12)
        if layer.bias is not None:
            torch.testing.assert_close(found[layer.bias].double(), felt[:, :, -1].flatten(), rtol=1e-5, atol=1e-12)


def test_what_no_linear_map_uses_has_the_median_of_the_others() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(192, 4))
    net = watched(network)
    unused = nn.Parameter(torch.ones(7))
    both = Watched(net.network, [*net.weights, unused])
    found = kronecker_diagonal(both, [images(16)])
    assert found[-7:].tolist() == [found[:-7].median().item()] * 7
    with pytest.raises(ValueError, match="no quantized weight belongs to a linear layer"):
        kronecker_diagonal(Watched(net.network, [unused]), [images(16)])


def test_it_differs_less_between_draws_of_images_than_squared_gradients_of_as_many() -> None:
    net = watched(convolutional())
    draws = [images(64, seed=seed) for seed in range(6)]
    labels = torch.arange(64) % 5
    factors = torch.stack([kronecker_diagonal(net, draw.split(16)) for draw in draws])
    gradients = torch.stack(
        [
            squared_gradients(net.network, list(net.weights), [(one, labels[:16]) for one in draw.split(16)], 4)  # type: ignore[arg-type]
            for draw in draws
        ]
    )

    def spread(found: Tensor) -> float:
        return float((found.std(0) / found.mean(0).clamp(min=1e-12)).median())

    assert spread(factors) < 0.5 * spread(gradients)
