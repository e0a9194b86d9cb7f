"""Weights that meet nothing but padding, against taking each of them away."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from timm.layers import Conv2dSame, ScaledStdConv2d, StdConv2d, StdConv2dSame
from torch import Tensor, nn

from pwfn.bayesian.posterior import quantized_tensors, to_bayesian
from pwfn.models.padding import idle_weights, padding_warnings


def naive(network: nn.Module, images: Tensor) -> dict[str, int]:
    """Count the weights that change nothing in any output: those whose gradient is zero for any images."""
    met = {tensor.name: torch.zeros_like(tensor.mu) for tensor in quantized_tensors(network)}
    for _ in range(3):
        output = network(torch.rand_like(images))
        for tensor in quantized_tensors(network):
            (grad,) = torch.autograd.grad((output * torch.randn_like(output)).sum(), tensor.mu, retain_graph=True)
            met[tensor.name] += grad.abs()
    return {name: int((total == 0).sum()) for name, total in met.items() if (total == 0).any()}


def convolutions() -> nn.Sequential:
    """No activation in between, so that nothing but padding makes a gradient exactly zero."""
    return nn.Sequential(
        nn.Conv2d(3, 4, 5, padding=2),
        nn.Conv2d(4, 4, 3, stride=2, padding=1, groups=4),
        nn.Conv2d(4, 6, 3, padding=2, dilation=2),
        Conv2dSame(6, 6, 4, stride=3),
        nn.Conv2d(6, 5, (1, 3), padding=(0, 1), padding_mode="circular"),
        nn.Conv2d(5, 5, (4, 3), padding="same"),
        nn.Flatten(),
    )


@pytest.mark.parametrize("side", range(1, 12))
def test_idle_weights_are_those_without_a_gradient(side: int) -> None:
    torch.manual_seed(side)
    network = convolutions()
    to_bayesian(network)
    images = torch.rand(2, 3, side, side)
    assert idle_weights(network, images) == naive(network, images)


def test_a_transposed_convolution_pads_in_another_sense() -> None:
    network = nn.Sequential(nn.ConvTranspose2d(1, 1, 3, padding=1))
    to_bayesian(network)
    assert idle_weights(network, torch.rand(1, 1, 1, 1)) == {}


def test_of_a_large_image_no_weight_is_idle() -> None:
    network = convolutions()
    to_bayesian(network)
    assert idle_weights(network, torch.rand(1, 3, 32, 32)) == {}


def test_a_weight_that_is_used_twice_is_idle_only_where_both_uses_are() -> None:
    class Twice(nn.Module):
        def __init__(self, sides: tuple[int, int]) -> None:
            super().__init__()
            self.conv, self.sides = nn.Conv2d(1, 1, 3, padding=1), sides

        def forward(self, images: Tensor) -> Tensor:
            first, second = (self.conv(images[..., :side, :side]) for side in self.sides)
            return first.mean() + second.mean()

    for sides, idle in (((1, 1), {"conv.weight": 8}), ((1, 9), {}), ((9, 1), {})):
        network = Twice(sides)
        to_bayesian(network)
        assert idle_weights(network, torch.rand(1, 1, 9, 9)) == idle


def test_a_tied_weight_is_idle_only_where_both_layers_are() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.small, self.large = (nn.Conv2d(1, 1, 3, padding=1) for _ in range(2))
            self.large.weight = self.small.weight

        def forward(self, images: Tensor) -> Tensor:
            return self.small(images[..., :1, :1]).mean() + self.large(images).mean()

    for side, idle in ((1, {"small.weight": 8}), (9, {})):
        network = Tied()
        to_bayesian(network)
        assert idle_weights(network, torch.rand(1, 1, side, side)) == idle


@pytest.mark.parametrize("kind", [StdConv2d, ScaledStdConv2d, StdConv2dSame])
def test_weights_that_a_layer_standardizes_are_idle_only_for_padding(kind: type[nn.Module]) -> None:
    """Where all places count alike, standardization makes their gradients zero."""
    network = nn.Sequential(kind(4, 8, kernel_size=3, stride=2))
    to_bayesian(network)
    assert idle_weights(network, torch.rand(1, 4, 3, 3)) == {}


def test_layers_may_be_called_in_any_way() -> None:
    class Odd(nn.Conv2d):
        def forward(self, images: Tensor, scale: Tensor) -> Tensor:  # type: ignore[override]
            return super().forward(images) * scale

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.named, self.single, self.odd = (
                nn.Conv2d(1, 1, 3, padding=1),
                nn.Conv2d(1, 1, 3, padding=1),
                Odd(1, 1, 3, padding=1),
            )

        def forward(self, images: Tensor) -> Tensor:
            named = self.named(input=images)
            return self.odd(self.single(named[0])[None], torch.ones(()))

    network = Network().requires_grad_(False)
    to_bayesian(network)
    names = ("named.weight", "single.weight", "odd.weight")
    assert idle_weights(network, torch.rand(1, 1, 1, 1)) == dict.fromkeys(names, 8)
    assert idle_weights(network, torch.rand(1, 1, 4, 4)) == {}


def test_the_network_and_the_random_state_stay_as_they_were() -> None:
    class Drawing(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images + torch.rand_like(images)

    network = nn.Sequential(Drawing(), timm.create_model("test_resnet", num_classes=3)).train()
    network[1].bn1.eval()
    to_bayesian(network)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    training = [module.training for module in network.modules()]
    state = torch.random.get_rng_state()
    assert idle_weights(network, torch.zeros(1, 3, 8, 8))
    assert [module.training for module in network.modules()] == training
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not any(module._forward_hooks for module in network.modules())


def test_small_images_are_warned_of_and_large_ones_not() -> None:
    network = timm.create_model("resnet18", num_classes=10)
    to_bayesian(network)
    (line,) = padding_warnings(network, (3, 28, 28))
    assert line.startswith(
        "at least 62 % of the quantized weights meet nothing but padding at 28 x 28 pixels, most of them in layer4."
    )
    assert padding_warnings(network, (3, 224, 224)) == []


def test_a_share_below_the_limit_is_not_worth_a_warning() -> None:
    network = timm.create_model("mobilenetv3_small_050", num_classes=10)
    to_bayesian(network)
    weights = sum(tensor.mu.numel() for tensor in quantized_tensors(network))
    assert 0 < sum(idle_weights(network, torch.zeros(1, 3, 32, 32)).values()) < 0.05 * weights
    assert padding_warnings(network, (3, 32, 32)) == []


def test_a_run_says_so(smoke: Path) -> None:
    """The smoke run's small ResNet sees 32 x 32 pixels."""
    assert "of the quantized weights meet nothing but padding at 32 x 32 pixels" in (smoke / "console.txt").read_text()


@pytest.mark.parametrize("name", ["mobilenetv3_small_050", "nf_resnet26", "vit_tiny_patch16_224"])
def test_other_models_are_looked_at_without_a_fault(name: str) -> None:
    """Convolutions that pad by themselves or normalize their weights, and a model without any but its patches."""
    network = timm.create_model(name, num_classes=10)
    to_bayesian(network)
    side = 224 if name.startswith("vit") else 32
    assert len(padding_warnings(network, (3, side, side))) <= 1


def test_a_model_without_shapes_is_left_alone() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.LazyLinear(5))
    to_bayesian(network)
    assert padding_warnings(network, (3, 8, 8)) == []
    assert isinstance(network[2].weight, nn.parameter.UninitializedParameter)
