"""Weights that meet nothing but padding: images so small that a kernel reaches over their edges at every place."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from pwfn.posterior import is_lazy, quantised_tensors

WARN_ABOVE = 0.05  # share of the quantised weights


def padding_warnings(network: nn.Module, size: tuple[int, int, int]) -> list[str]:
    """What a user should know before trusting bits per weight of a network for images of `size` [channels, height, width]."""
    if any(is_lazy(parameter) for parameter in network.parameters()):  # these take their shapes from the first images
        return []
    idle = idle_weights(network, torch.zeros(1, *size))
    share = sum(idle.values()) / sum(tensor.mu.numel() for tensor in quantised_tensors(network))
    if share <= WARN_ABOVE:
        return []
    return [
        f"{100 * share:.0f} % of the quantised weights meet nothing but padding at {size[1]} x {size[2]} pixels, most of them in "
        f"{max(idle, key=idle.__getitem__)}: they do nothing, and bits per weight look better than they would for larger images"
    ]


def idle_weights(network: nn.Module, images: Tensor) -> dict[str, int]:
    """How many weights of each quantised convolution see only padding while `images` [n, C, H, W] go through, if any.

    A weight that several layers share counts if it does so in all of them. The network, in float32 on the CPU, stays as it was.
    """
    seen: dict[str, Tensor] = {}
    training = network.training
    with ExitStack() as stack, torch.no_grad():
        for tensor in quantised_tensors(network):
            module = network.get_submodule(tensor.name.rpartition(".")[0])
            if isinstance(module, nn.modules.conv._ConvNd) and not tensor.gaussian.is_bias:
                look = _look(tensor.name, tensor.mu, seen)
                stack.callback(module.register_forward_hook(look).remove)
        stack.callback(network.train, training)
        network.eval()(images)
    counts = {name: int((met == 0).sum()) for name, met in seen.items()}
    return {name: count for name, count in counts.items() if count}


def _look(name: str, weights: nn.Parameter, seen: dict[str, Tensor]) -> Any:
    def look(module: nn.modules.conv._ConvNd, given: tuple[Tensor], output: Tensor) -> None:
        """The gradient of a sum of outputs for inputs of one counts the inputs, padding left out, that a weight meets."""
        if name not in seen:
            seen[name] = torch.zeros_like(weights)
        if _reaches_everywhere(module, given[0]):
            seen[name] += 1
            return
        with torch.enable_grad():
            output = module.forward(torch.ones_like(given[0][:1]))
            seen[name] += torch.autograd.grad(output.sum(), weights)[0].abs()

    return look


def _reaches_everywhere(module: nn.modules.conv._ConvNd, given: Tensor) -> bool:
    """Whether the input is so large that each weight meets some of it for certain."""
    sides = zip(given.shape[2:], module.kernel_size, module.dilation, module.stride, strict=True)
    return all(size >= dilation * (kernel - 1) + stride for size, kernel, dilation, stride in sides)
