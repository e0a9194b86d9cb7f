"""A gradient is masked in place where nobody else reads it, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pwfn.bayesian import ownership
from pwfn.bayesian.posterior import quantized_tensors, sampled, to_bayesian
from pwfn.bayesian.regularizer import NoRegularizer
from pwfn.bayesian.sampling import Noise, Source, draw

SHAPE = (40, 50)
FREE = torch.arange(2000).view(SHAPE) % 2 == 0


def drawn(*mus: Tensor, masks: tuple[Tensor | None, ...] = (FREE,)) -> list[Tensor]:
    """Draws with sigma at 1, of which half, or the masks' share, is fixed."""
    sources = [
        Source(mu, torch.ones_like(mu, requires_grad=True), m, m, NoRegularizer())
        for mu, m in zip(mus, masks, strict=True)
    ]
    return draw(sources, [Noise(1, number) for number in range(len(mus))])[0]


class Detached(torch.autograd.Function):
    """The identity, whose gradient is another tensor of the same memory."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return values.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return grads[0].detach()


SUMS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "sum": lambda weight, other: other + weight,
    "transposed": lambda weight, other: other.T + weight.T,
    "a view of one": lambda weight, other: other.reshape(-1) + weight.view(-1),
    "a view of the other": lambda weight, other: other + weight.view(-1).view(SHAPE),
    "detached": lambda weight, other: other + Detached.apply(weight),
    "stacked": lambda weight, other: torch.stack([other, weight]).sum(0),
}


@pytest.mark.parametrize("way", SUMS)
def test_a_gradient_that_others_get_too_is_not_masked_for_them(way: str) -> None:
    mu, leaf = (torch.randn(SHAPE, requires_grad=True) for _ in range(2))
    other = leaf * 1  # made before the draw: its turn in the backward pass is after the draw's
    (weight,) = drawn(mu)
    SUMS[way](weight, other).square().sum().backward()
    expected = 2 * (weight + leaf).detach()
    assert mu.grad is not None and leaf.grad is not None
    torch.testing.assert_close(leaf.grad, expected)
    torch.testing.assert_close(mu.grad, expected * FREE)


@pytest.mark.parametrize("masks", [(FREE, ~FREE), (FREE, None), (None, FREE)], ids=["both", "first", "second"])
def test_two_weights_of_one_draw_may_be_given_the_same_gradient(masks: tuple[Tensor | None, Tensor | None]) -> None:
    mus = [torch.randn(SHAPE, requires_grad=True) for _ in range(2)]
    first, second = drawn(*mus, masks=masks)
    (first + second).square().sum().backward()
    expected = 2 * (first + second).detach()
    for mu, mask in zip(mus, masks, strict=True):
        assert mu.grad is not None
        torch.testing.assert_close(mu.grad, expected if mask is None else expected * mask)


def test_what_a_hook_keeps_stays_as_it_was() -> None:
    mu, kept = torch.randn(SHAPE, requires_grad=True), list[Tensor]()
    (weight,) = drawn(mu)
    weight.register_hook(kept.append)
    weight.exp().sum().backward()
    torch.testing.assert_close(kept[0], weight.detach().exp())


def test_a_tensor_that_a_python_function_gives_as_gradient_stays_as_it_was() -> None:
    constant = torch.randn(SHAPE)

    class Times(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, values: Tensor) -> Tensor:
            return (values * constant).sum()

        @staticmethod
        def backward(ctx: Any, *grads: Tensor) -> Tensor:
            return constant

    mu, before = torch.randn(SHAPE, requires_grad=True), constant.clone()
    Times.apply(*drawn(mu)).backward()
    assert torch.equal(constant, before) and mu.grad is not None and torch.equal(mu.grad, before * FREE)


def test_a_gradient_without_memory_of_its_own_is_copied() -> None:
    mu = torch.randn(SHAPE, requires_grad=True)
    drawn(mu)[0].sum().backward()
    assert mu.grad is not None and torch.equal(mu.grad, FREE.float())


@pytest.mark.parametrize("layer", [nn.Linear(40, 50), nn.Conv2d(40, 50, 3)], ids=["linear", "convolution"])
def test_the_gradient_of_a_layer_is_masked_where_it_is(layer: nn.Module) -> None:
    to_bayesian(layer)
    tensor = quantized_tensors(layer)[0]
    tensor.gaussian.assignment.view(-1)[::2] = 0
    handed: list[int] = []
    with sampled(layer):
        layer.weight.register_hook(lambda grad: handed.append(grad.data_ptr()))
        layer(torch.randn((9, 40) if isinstance(layer, nn.Linear) else (2, 40, 9, 9))).square().sum().backward()
    assert tensor.mu.grad is not None and handed == [tensor.mu.grad.data_ptr()]
    fixed = tensor.gaussian.assignment == 0
    assert (tensor.mu.grad[fixed] == 0).all() and (tensor.mu.grad[~fixed] != 0).all()


def test_python_holds_a_fresh_gradient_as_often_each_time() -> None:
    first = ownership.usual()
    ownership.usual.cache_clear()
    assert ownership.usual() == first > 1


def test_losses_of_a_draw_may_be_differentiated_one_after_the_other() -> None:
    """As gradient checkpointing of layers does."""
    network = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    to_bayesian(network)
    images = torch.randn(5, 3)
    with sampled(network):
        for layer in network:
            layer(images).square().sum().backward()
    grads = [tensor.mu.grad for tensor in quantized_tensors(network)]
    assert all(grad is not None and (grad != 0).all() for grad in grads)


def test_a_sigma_that_changes_before_its_backward_pass_is_refused() -> None:
    network = nn.Linear(3, 3)
    to_bayesian(network)
    with sampled(network):
        loss = network(torch.randn(5, 3)).square().sum()
    with torch.no_grad():
        quantized_tensors(network)[0].gaussian.sigma.add_(1)
    with pytest.raises(RuntimeError, match="a sigma has been changed in place between a draw and its backward pass"):
        loss.backward()
