"""Estimate the input factors of the Kronecker-factored curvature: second moments of what each layer is given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pwfn.curvature.layers import Layer
from pwfn.curvature.linear_calls import LinearCall, LinearCalls, evaluating
from pwfn.curvature.patches import sampled_inputs

Reduce = Callable[[Tensor], Tensor]  # sums a tensor over the ranks of a run


@dataclass(frozen=True)
class Moments:
    """Second moments of the inputs of a layer, per image: float64 [groups, columns, columns].

    Attributes:
        own: E[x x^T], summed over positions, of the inputs x that the network gives the layer.
        cross: E[r x^T] with the inputs r that the reference network gives it.
    """

    own: Tensor
    cross: Tensor


class _Enough(Exception):
    """Ends a forward pass after the last layer that is looked at."""


class _Inputs:
    """Collect the inputs of some layers in one forward pass."""

    def __init__(self, layers: Sequence[Layer], images: int, seed: int) -> None:
        self.found: dict[int, list[tuple[Tensor, float]]] = {layer.weight: [] for layer in layers}
        self._layers = {layer.weight: layer for layer in layers}
        self._last = max(layer.last_call for layer in layers)
        self._images, self._generator = images, torch.Generator().manual_seed(seed)
        self._calls = 0

    def add(self, call: LinearCall) -> None:
        """Keep the inputs of one call, with a 1 where the layer has such a column."""
        layer = self._layers.get(call.weight)
        if layer is not None:
            for inputs, share in sampled_inputs(call, self._images, self._generator):
                padded = F.pad(inputs, (0, 0, 0, 1), value=1.0) if layer.has_ones else inputs
                self.found[call.weight].append((padded, share))
        self._calls += 1
        if self._calls > self._last:
            raise _Enough


@dataclass(frozen=True)
class Watched:
    """A network and those of its parameters whose layers are looked at."""

    network: nn.Module
    weights: Sequence[Tensor]

    def inputs(self, layers: Sequence[Layer], batch: Tensor, images: int, seed: int) -> _Inputs:
        """Return the inputs of some layers for one batch; what runs behind the last of them does not run."""
        inputs = _Inputs(layers, images, seed)
        calls = LinearCalls(self.weights, inputs.add)
        with suppress(_Enough), evaluating(self.network, self.weights, gradients=False), calls:
            self.network(batch.to(self.weights[0].device))
        return inputs


def input_moments(
    watched: Watched,
    reference: Watched,
    layers: Sequence[Layer],
    batches: Sequence[Tensor],
    *,
    seed: int = 0,
    reduce: Reduce = lambda total: total,
) -> list[Moments]:
    """Estimate the second moments of the inputs of some layers.

    Of the positions of large maps a random share is looked at, as `pwfn.curvature.patches.positions_of` says.

    Args:
        watched: the network, at its current weights; run in evaluation mode.
        reference: the network as it was, with its weights in the same order.
        layers: those to look at.
        batches: images, each [batch, channels, height, width].
        seed: of the choice of positions.
        reduce: sums over ranks.
    """
    images = sum(len(batch) for batch in batches)
    own = {layer.weight: _zeros(layer, watched.weights[0].device) for layer in layers}
    cross = {weight: torch.zeros_like(total) for weight, total in own.items()}
    for number, batch in enumerate(batches):
        of_both = [one.inputs(layers, batch, images, seed + number).found for one in (reference, watched)]
        for weight in own:
            for (before, share), (now, _) in zip(*(found[weight] for found in of_both), strict=True):
                own[weight].add_(torch.bmm(now, now.mT), alpha=1 / share)
                cross[weight].add_(torch.bmm(before, now.mT), alpha=1 / share)
    count = float(reduce(torch.tensor(float(images))))
    return [Moments(reduce(own[at.weight]) / count, reduce(cross[at.weight]) / count) for at in layers]


def _zeros(layer: Layer, device: torch.device) -> Tensor:
    return torch.zeros(layer.groups, layer.columns, layer.columns, dtype=torch.float64, device=device)
