"""Find weights that only multiply padding, as images smaller than a kernel's reach have them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from itertools import chain
from typing import Any

import torch
from timm.layers import Conv2dSame, ScaledStdConv2dSame, StdConv2dSame
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from pwfn.bayesian.posterior import is_lazy, quantized_convolutions, quantized_tensors

WARN_ABOVE = 0.05  # share of the quantized weights
_SAME = (Conv2dSame, StdConv2dSame, ScaledStdConv2dSame)  # these pad by themselves, the odd one at the end


def padding_warnings(network: nn.Module, size: tuple[int, int, int]) -> list[str]:
    """Warn if bits per weight would look too good, for images of `size` [channels, height, width]."""
    if any(is_lazy(parameter) for parameter in network.parameters()):  # these take their shapes from the first images
        return []
    idle = idle_weights(network, torch.zeros(1, *size))
    share = sum(idle.values()) / sum(tensor.mu.numel() for tensor in quantized_tensors(network))
    if share <= WARN_ABOVE:
        return []
    return [
        f"at least {100 * share:.0f} % of the quantized weights meet nothing but padding at {size[1]} x {size[2]} "
        f"pixels, most of them in {max(idle, key=idle.__getitem__)}: they do nothing, and bits per weight look better "
        "than they would for larger images"
    ]


@torch.no_grad()
def idle_weights(network: nn.Module, images: Tensor) -> dict[str, int]:
    """Count the weights of each quantized convolution that meet only its padding.

    A weight that several layers share counts if it does so in all of them. Padding outside of a convolution, or in a
    way of its own, is not seen. Nothing of the network is changed.

    Args:
        network: Bayesian.
        images: [n, C, H, W] of the size in question, on the device of the network; their values do not matter.

    Returns:
        The counts above 0 by the name of the tensor.
    """
    met: dict[str, Tensor] = {}
    sizes = {}
    with ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(devices=[]))
        for module in network.modules():
            stack.callback(setattr, module, "training", module.training)
        for name, module, weights in quantized_convolutions(network):
            if not isinstance(module, _ConvTransposeNd):
                sizes[name] = weights.numel()
                stack.callback(module.register_forward_hook(_look(name, met), with_kwargs=True).remove)
        network.eval()(images)
    return {
        name: sizes[name] // places.numel() * idle for name, places in met.items() if (idle := int((~places).sum()))
    }


def _look(name: str, met: dict[str, Tensor]) -> Any:
    def look(module: _ConvNd, given: tuple[Any, ...], named: Mapping[str, Any], output: Tensor) -> None:
        images = next((value for value in chain(given, named.values()) if isinstance(value, Tensor)), None)
        places = torch.ones(module.kernel_size, dtype=torch.bool)
        if images is not None and module.padding_mode == "zeros":
            for axis in range(places.dim()):
                side = axis - places.dim()
                reached = _reached(module, axis, images.shape[side], output.shape[side])
                places &= torch.tensor(reached).view([-1 if other == axis else 1 for other in range(places.dim())])
        met[name] = met[name] | places if name in met else places

    return look


def _reached(module: _ConvNd, axis: int, inputs: int, outputs: int) -> list[bool]:
    """Tell which places of the kernel meet an input, along one axis of so many inputs and outputs."""
    kernel, stride, dilation = module.kernel_size[axis], module.stride[axis], module.dilation[axis]
    missing = (outputs - 1) * stride + dilation * (kernel - 1) + 1 - inputs
    if isinstance(module, _SAME):
        before = max(missing, 0) // 2
    elif isinstance(module.padding, str):
        before = dilation * (kernel - 1) // 2 if module.padding == "same" else 0
    else:
        before = int(module.padding[axis])
        if missing > 2 * before:  # it must pad in a way of its own as well
            return [True] * kernel
    starts = [output * stride - before for output in range(outputs)]
    return [any(0 <= start + place * dilation < inputs for start in starts) for place in range(kernel)]
