"""Estimate how much the loss feels each weight, by squared gradients over a few batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def squared_gradients(
    network: nn.Module, weights: Sequence[nn.Parameter], batches: Iterable[tuple[Tensor, Tensor]], count: int
) -> Tensor:
    """Average the squared gradient of each weight over `count` batches.

    The loss is the mean cross entropy of a batch in evaluation mode; a Bayesian network computes at its mean weights,
    nothing is drawn, and the network stays as it was. Fixed weights have gradients like any other.

    Args:
        network: the network, on the device of its weights.
        weights: the parameters to differentiate with respect to, such as the means of the quantized tensors.
        batches: pairs of images [batch, channels, height, width] and labels [batch]. Fewer than `count` are enough.
        count: how many batches to use at most, from 1.

    Returns:
        float32 [sum of the weights' sizes], one tensor after the other.

    Raises:
        ValueError: there is no batch.
    """
    totals = [torch.zeros_like(weight, dtype=torch.float32, requires_grad=False) for weight in weights]
    seen = 0
    with _evaluated(network), _differentiable(weights), torch.enable_grad():
        for images, labels in islice(batches, count):
            loss = F.cross_entropy(network(images.to(weights[0].device)), labels.to(weights[0].device))
            gradients = torch.autograd.grad(loss, weights, allow_unused=True)
            for total, gradient in zip(totals, gradients, strict=True):
                if gradient is not None:
                    total.addcmul_(gradient, gradient)
            seen += 1
    if not seen:
        raise ValueError("there are no training images to take gradients of")
    return torch.cat([total.flatten() for total in totals]).div_(seen)


@contextmanager
def _evaluated(network: nn.Module) -> Iterator[None]:
    """Put modules into evaluation mode inside, and back into the mode that each was in."""
    training = [module for module in network.modules() if module.training]
    network.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


@contextmanager
def _differentiable(weights: Sequence[nn.Parameter]) -> Iterator[None]:
    """Let gradients be computed for all of them: a phase may have left some without."""
    before = [weight.requires_grad for weight in weights]
    for weight in weights:
        weight.requires_grad_(True)
    try:
        yield
    finally:
        for weight, required in zip(weights, before, strict=True):
            weight.requires_grad_(required)
