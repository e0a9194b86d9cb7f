"""Find the first parameter, buffer or layer of a network that is not finite."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from pwfn.bayesian.posterior import quantized_tensors


def weights_not_finite(network: nn.Module) -> str | None:
    """Return the first parameter or buffer with a NaN or an infinity; None if all are finite.

    Quantized weights have the names of the original model, their sigmas are "sigma of <name>".
    """
    quantized = [(t.name, t.mu) for t in quantized_tensors(network)]
    quantized += [(f"sigma of {t.name}", t.gaussian.sigma) for t in quantized_tensors(network)]
    seen = {id(tensor) for _, tensor in quantized}
    others = [*network.named_parameters(), *network.named_buffers()]
    for name, tensor in [*quantized, *((name, tensor) for name, tensor in others if id(tensor) not in seen)]:
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            return name
    return None


def layer_not_finite(network: nn.Module, images: Tensor) -> str | None:
    """Return the first layer whose output is not finite for `images` [batch, channels, height, width].

    None where all outputs are finite.
    """
    found: list[str] = []

    def watch(name: str) -> Any:
        def hook(_module: nn.Module, _given: Any, output: Any) -> None:
            if not found and isinstance(output, Tensor) and not bool(torch.isfinite(output).all()):
                found.append(name)

        return hook

    leaves = [(name, module) for name, module in network.named_modules() if not any(module.children())]
    # a parametrized layer has its parametrizations as children
    layers = [(n, m) for n, m in network.named_modules() if hasattr(m, "parametrizations")] + leaves
    handles = [m.register_forward_hook(watch(n)) for n, m in layers if n and "parametrizations" not in n]
    try:
        with torch.no_grad():
            network(images)
    finally:
        for handle in handles:
            handle.remove()
    return found[0] if found else None


def describe(network: nn.Module, images: Tensor) -> str:
    """Describe in a few words what is not finite in a network whose loss on `images` is not."""
    if not bool(torch.isfinite(images).all()):
        return "the images of the batch are not finite"
    if name := weights_not_finite(network):
        return f"{name} is not finite"
    if layer := layer_not_finite(network, images):
        return f"the output of {layer} is not finite, its weights are"
    return "all weights and outputs are finite"
