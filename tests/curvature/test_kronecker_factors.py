"""Kronecker factors against exact Hessians, gradients written out and naive loops over patches."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from timm.layers import ScaledStdConv2d
from torch import Tensor, nn

from pwfn.bayesian.posterior import quantized_tensors, to_bayesian
from pwfn.curvature import Layer, Watched, find_layers, input_moments, kronecker_diagonal, output_factors
from pwfn.curvature.output_factors import OutputFactor, output_gradients, shrunk
from tests.support.curvature import watched_of


def exact_fisher(network: nn.Module, images: Tensor, weights: dict[str, Tensor]) -> Tensor:
    """The generalized Gauss-Newton matrix of the mean cross entropy with the network's own labels."""
    names = list(weights)

    def logits(flat: Tensor) -> Tensor:
        pieces = flat.split([weights[name].numel() for name in names])
        given = {name: piece.view_as(weights[name]) for name, piece in zip(names, pieces, strict=True)}
        return torch.func.functional_call(network, given, (images,))

    flat = torch.cat([weight.detach().flatten() for weight in weights.values()])
    jacobian = torch.autograd.functional.jacobian(logits, flat)
    p = logits(flat).softmax(1)
    middle = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
    return torch.einsum("nci,ncd,ndj->ij", jacobian, middle, jacobian) / len(images)


def test_factors_of_a_last_layer_are_its_exact_hessian_on_one_image() -> None:
    """With one input the expectation of the product is the product of the expectations."""
    torch.manual_seed(0)
    network, images = nn.Linear(4, 3).double(), torch.randn(1, 4).double()
    watched = watched_of(network)
    layers = find_layers(network, watched.weights, images)
    (moments,) = input_moments(watched, watched, layers, [images])
    draws = [output_factors(watched, layers, [images], seed=seed)[0].squares for seed in range(3000)]
    g = torch.stack(draws).mean(0)[0]
    exact = exact_fisher(network, images, dict(network.named_parameters()))
    for o in range(3):  # weights of output o, then its bias
        places = [*range(4 * o, 4 * o + 4), 12 + o]
        torch.testing.assert_close(g[o] * moments.own[0], exact[places][:, places], rtol=0.1, atol=1e-3)


class Averaged(nn.Module):
    """A convolution, or a linear map of tokens, and the average over all positions: these are the logits."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.map = nn.Conv2d(2, 3, 2) if kind == "convolution" else nn.Linear(2, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.map(x).mean((2, 3)) if isinstance(self.map, nn.Conv2d) else self.map(x).mean(1)


@pytest.mark.parametrize(("kind", "shape"), [("convolution", (1, 2, 4, 5)), ("linear", (1, 7, 2))])
def test_factors_of_an_average_over_positions_are_the_exact_hessian_on_one_image(
    kind: str, shape: tuple[int, ...]
) -> None:
    """Where the gradient is the same at all positions their inputs count together."""
    torch.manual_seed(0)
    network, images = Averaged(kind).double(), torch.randn(*shape).double()
    watched = watched_of(network)
    layers = find_layers(network, watched.weights, images)
    drawn = [output_factors(watched, layers, [images], seed=seed)[0] for seed in range(2000)]
    assert drawn[0].common == pytest.approx(1)
    assert tuple(drawn[0].mixture) == pytest.approx((0, 1))
    (moments,) = input_moments(watched, watched, layers, [images], mixtures=[drawn[0].mixture])
    g = torch.stack([one.squares for one in drawn]).mean(0)[0]
    exact = exact_fisher(network, images, dict(network.named_parameters()))
    inputs = layers[0].columns - 1
    for o in range(3):
        places = [*range(inputs * o, inputs * (o + 1)), 3 * inputs + o]
        torch.testing.assert_close(g[o] * moments.own[0], exact[places][:, places], rtol=0.15, atol=2e-3)
    felt = kronecker_diagonal(watched, [images], seed=0)
    alone = drawn[0].squares[0][:, None] * moments.own[0].diagonal()
    torch.testing.assert_close(felt.double(), torch.cat([alone[:, :-1].flatten(), alone[:, -1]]), rtol=1e-5, atol=1e-9)


def test_independent_gradients_leave_each_position_apart() -> None:
    assert tuple(OutputFactor(torch.ones(1, 1), common=1 / 9, positions=9.0).mixture) == pytest.approx((1, 0))
    assert tuple(OutputFactor(torch.ones(1, 1), common=0.05, positions=9.0).mixture) == (1, 0)
    assert tuple(OutputFactor(torch.ones(1, 1), common=1.0, positions=1.0).mixture) == (1, 0)
    apart, pooled = OutputFactor(torch.ones(1, 1), common=0.5, positions=9.0).mixture
    assert (apart, pooled) == pytest.approx((0.5 * 9 / 8, 0.5 - 0.5 / 8))


def test_what_is_drawn_has_the_covariance_of_drawn_labels_and_less_spread() -> None:
    torch.manual_seed(0)
    network, images = nn.Linear(6, 10).requires_grad_(False), torch.randn(64, 6) * 3
    watched = watched_of(network)
    layers = find_layers(network, watched.weights, images)
    p = network(images).softmax(1)
    expected = (p * (1 - p)).mean(0).detach().double()
    drawn = torch.stack([output_factors(watched, layers, [images], seed=seed)[0].squares[0] for seed in range(400)])
    labels = torch.stack([F.one_hot(torch.multinomial(p, 1)[:, 0], 10) - p for _ in range(400)]).square().mean(1)
    torch.testing.assert_close(drawn.mean(0), expected, rtol=0.1, atol=1e-4)
    assert float(drawn.std(0).mean()) < float(labels.std(0).mean())


class Shared(nn.Module):
    """A weight that runs twice, one that never runs, one that is standardized first, and a bias of two weights."""

    def __init__(self) -> None:
        super().__init__()
        self.twice, self.never = nn.Linear(4, 4), nn.Linear(4, 4)
        self.standardized = ScaledStdConv2d(1, 2, 3)
        self.one, self.other = nn.Linear(4, 4), nn.Linear(4, 4)
        self.other.bias = self.one.bias

    def forward(self, x: Tensor) -> Tensor:
        x = self.other(self.one(self.twice(self.twice(x).relu())))
        return x + self.standardized(x.new_ones(1, 1, 3, 3)).sum()


def test_what_has_no_layer_and_what_is_one_layer() -> None:
    torch.manual_seed(0)
    network, images = Shared(), torch.randn(5, 4)
    names = [name for name, _ in network.named_parameters()]
    watched = Watched(network, list(network.parameters()))
    layers = find_layers(network, watched.weights, images)
    assert [names[layer.weight] for layer in layers] == ["twice.weight", "one.weight", "other.weight"]
    assert [layer.bias is not None for layer in layers] == [True, False, False]
    assert [layer.last_call for layer in layers] == [1, 2, 3]
    (moments,) = input_moments(watched, watched, layers[:1], [images])
    second = network.twice(images).relu()
    both = torch.cat([torch.cat([x, torch.ones(5, 1)], 1) for x in (images, second)]).double()
    torch.testing.assert_close(moments.own[0], (both.T @ both / 5).detach(), rtol=1e-5, atol=1e-5)


def test_layers_of_a_bayesian_network_are_those_of_the_ordinary_one() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(32, 3))
    images = torch.randn(2, 1, 6, 6)
    to_bayesian(network)
    tensors = quantized_tensors(network)
    layers = find_layers(network, [t.mu for t in tensors], images)
    assert layers == [Layer(0, 1, 1, 2, 10, 0), Layer(2, 3, 1, 3, 33, 1)]
    assert network.training
    assert all(t.mu.requires_grad for t in tensors)


def test_ten_photographs_of_a_thousand_classes_leave_no_class_without_curvature() -> None:
    torch.manual_seed(0)
    network, images = nn.Linear(8, 1000), torch.randn(10, 8) * 20
    watched = watched_of(network)
    layers = find_layers(network, watched.weights, images)
    factor = output_factors(watched, layers, [images])[0].squares
    assert float((factor < 1e-3 * factor.mean()).double().mean()) > 0.5
    moved = shrunk(factor, images=10, strength=64)
    assert float(moved.min()) > 0.5 * float(factor.mean())
    torch.testing.assert_close(moved.mean(), factor.mean())
    assert torch.equal(shrunk(factor, images=10, strength=0), factor)


def test_large_images_go_through_the_network_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Activations of all of them would not fit in memory; the draws are those of the whole batch."""
    torch.manual_seed(0)
    network, images = Averaged("convolution").double(), torch.randn(10, 2, 4, 5).double()
    watched, sizes = watched_of(network), list[int]()
    network.register_forward_pre_hook(lambda _, given: sizes.append(len(given[0])))
    layers = find_layers(network, watched.weights, images[:2])
    sizes.clear()
    whole = output_factors(watched, layers, [images], seed=3)[0]
    assert sizes == [10]
    monkeypatch.setitem(output_gradients.__globals__, "MOST_NUMBERS", 4 * images[0].numel() + 1)
    split = output_factors(watched, layers, [images], seed=3)[0]
    assert sizes == [10, 4, 4, 2]
    torch.testing.assert_close(split.squares, whole.squares)
    assert (split.common, split.positions) == pytest.approx((whole.common, whole.positions))
