"""Estimate how much the loss feels each weight alone, from the diagonals of the Kronecker factors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pwfn.curvature.input_moments import Reduce, Watched
from pwfn.curvature.layers import Layer, find_layers
from pwfn.curvature.linear_calls import LinearCall
from pwfn.curvature.output_factors import OutputTotals, output_gradients
from pwfn.curvature.patches import pooled_inputs, sampled_inputs


def kronecker_diagonal(watched: Watched, batches: Sequence[Tensor], *, seed: int = 0) -> Tensor:
    """Estimate each weight's squared gradient, per image, as `kronecker_diagonals` does, with no gaps.

    Args:
        watched: the network and its weights, at their current values; run in evaluation mode.
        batches: images, each [batch, channels, height, width].
        seed: of what is drawn.

    Returns:
        float32 [sum of the weights' sizes], one tensor after the other. Tensors that no linear map uses as they are
        have the median of the others.

    Raises:
        ValueError: no weight belongs to a linear map.
    """
    found = kronecker_diagonals(watched, batches, seed=seed)
    median = torch.cat([one for one in found if one is not None]).median()
    pairs = zip(found, watched.weights, strict=True)
    filled = [median.expand(weight.numel()) if one is None else one for one, weight in pairs]
    return torch.cat(filled).float()


def kronecker_diagonals(
    watched: Watched, batches: Sequence[Tensor], *, seed: int = 0, reduce: Reduce = lambda total: total
) -> list[Tensor | None]:
    """Estimate each weight's squared gradient, per image, as g_o A_jj of its output o and input j.

    Each factor is a mean over images, and over positions as `OutputFactor.mixture` says, so that it differs far less
    from one draw of images to the next than the squared gradients themselves. No labels are needed.

    Args:
        watched: the network and its weights, at their current values; run in evaluation mode.
        batches: images, each [batch, channels, height, width]; with ranks those of this one.
        seed: of what is drawn.
        reduce: sums over ranks.

    Returns:
        For each tensor of weights float64 [its size], on the CPU; None for one that no linear map uses as it is.

    Raises:
        ValueError: no weight belongs to a linear map.
    """
    layers = find_layers(watched.network, watched.weights, batches[0][:2])
    if not layers:
        raise ValueError("no quantized weight belongs to a linear layer or a convolution")
    factors = {layer.weight: _Factors(layer) for layer in layers}
    images = int(reduce(torch.tensor(float(sum(map(len, batches))), dtype=torch.float64)))
    generator = torch.Generator().manual_seed(seed)
    for batch in batches:
        for call, gradient in output_gradients(watched, batch, generator):
            if call.weight in factors:
                factors[call.weight].add(call, gradient, images, generator)
    found: list[Tensor | None] = [None] * len(watched.weights)
    for layer in layers:
        of_weight, of_bias = factors[layer.weight].squared_gradients(images, reduce)
        found[layer.weight] = of_weight
        if layer.bias is not None:
            found[layer.bias] = of_bias
    return found


class _Factors:
    """Sum what one layer's diagonals are made of, on its device until they are asked for."""

    def __init__(self, layer: Layer) -> None:
        self._outputs = OutputTotals(layer)
        columns = layer.columns - layer.has_ones + 1  # with that of the bias
        self._apart = torch.zeros(layer.groups, columns, dtype=torch.float64)
        self._pooled = torch.zeros_like(self._apart)

    def add(self, call: LinearCall, gradient: Tensor, images: int, generator: torch.Generator) -> None:
        self._outputs.add(call, gradient)
        self._apart, self._pooled = self._apart.to(gradient.device), self._pooled.to(gradient.device)
        for inputs, share in sampled_inputs(call, images, generator):
            self._apart[:, :-1] += inputs.double().square().sum(2) / share
        self._pooled[:, :-1] += pooled_inputs(call).square().sum(2)
        self._apart[:, -1] += len(call.given) * call.positions
        self._pooled[:, -1] += len(call.given) * call.positions**2

    def squared_gradients(self, images: int, reduce: Reduce) -> tuple[Tensor, Tensor]:
        """Return those of the weight and of the bias, flat, of the images of all ranks."""
        factor = self._outputs.factor(reduce, torch.device("cpu"))
        apart, pooled = reduce(self._apart.cpu()), reduce(self._pooled.cpu())
        inputs = (factor.mixture.apart * apart + factor.mixture.pooled * pooled) / images
        felt = factor.squares[:, :, None] * inputs[:, None, :]
        return felt[:, :, :-1].flatten(), felt[:, :, -1].flatten()
