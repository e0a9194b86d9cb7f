"""How much the loss feels each weight: squared gradients over a few batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pwfn.bayesian.posterior import quantised_tensors


def squared_gradients(network: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], count: int) -> Tensor:
    """For each quantised weight of a Bayesian network the mean over `count` batches of its squared gradient, flat float32.

    The loss is the mean cross entropy of a batch (images, labels) at the mean weights, in evaluation mode: nothing is
    drawn, and the network stays as it was. Fixed weights have gradients like any other. Fewer batches than `count` are
    enough, none raises ValueError.
    """
    weights = [tensor.mu for tensor in quantised_tensors(network)]
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
    """In evaluation mode inside; afterwards every module in the mode it was in."""
    training = [module for module in network.modules() if module.training]
    network.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


@contextmanager
def _differentiable(weights: list[nn.Parameter]) -> Iterator[None]:
    """A phase may have left some of them without gradients."""
    before = [weight.requires_grad for weight in weights]
    for weight in weights:
        weight.requires_grad_(True)
    try:
        yield
    finally:
        for weight, required in zip(weights, before, strict=True):
            weight.requires_grad_(required)
