"""Estimate input factors of Kronecker-factored curvature: second moments of each layer's inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pwfn.curvature.layers import Layer
from pwfn.curvature.linear_calls import LinearCall, LinearCalls, evaluating
from pwfn.curvature.patches import pooled_inputs, sampled_inputs

Reduce = Callable[[Tensor], Tensor]  # sums a tensor over the ranks of a run


class Mixture(NamedTuple):
    """Weigh second moments of inputs: `apart` those of each position, `pooled` those of their sum.

    The gradient of a weight is the sum over positions p of d_p x_p, with the gradient d_p of its output. If these d_p
    are independent, its square is d^2 times the sum of x_p x_p^T; if they are equal, as before an average over all
    positions, it is d^2 times the square of the sum of x_p (Eschenhagen et al. 2023, arXiv:2311.00636).
    """

    apart: float
    pooled: float


EACH_APART = Mixture(1.0, 0.0)


@dataclass(frozen=True)
class Moments:
    """Hold second moments of a layer's inputs, per image: float64 [groups, columns, columns].

    Attributes:
        own: E[x x^T], summed over positions as the `Mixture` says, of the inputs x that the network gives the layer.
        cross: E[r x^T] with the inputs r that the reference network gives it.
    """

    own: Tensor
    cross: Tensor


class _Enough(Exception):
    """End a forward pass after the last layer that is looked at."""


class _Inputs:
    """Collect the inputs of some layers in one forward pass."""

    def __init__(self, layers: Sequence[Layer], mixtures: Sequence[Mixture], images: int, seed: int) -> None:
        # whether they are summed over positions, the inputs, and which share of the positions they are
        self.found: dict[int, list[tuple[bool, Tensor, float]]] = {layer.weight: [] for layer in layers}
        self._mixtures = {layer.weight: mixture for layer, mixture in zip(layers, mixtures, strict=True)}
        self._layers = {layer.weight: layer for layer in layers}
        self._last = max(layer.last_call for layer in layers)
        self._images, self._generator = images, torch.Generator().manual_seed(seed)
        self._calls = 0

    def add(self, call: LinearCall) -> None:
        """Keep the inputs of one call, with a 1 where the layer has such a column."""
        layer = self._layers.get(call.weight)
        if layer is not None:
            found, mixture = self.found[call.weight], self._mixtures[call.weight]
            for inputs, share in sampled_inputs(call, self._images, self._generator):
                padded = F.pad(inputs, (0, 0, 0, 1), value=1.0) if layer.has_ones else inputs
                found.append((False, padded, share))
            if mixture.pooled:
                inputs, positions = pooled_inputs(call), float(call.positions)
                padded = F.pad(inputs, (0, 0, 0, 1), value=positions) if layer.has_ones else inputs
                found.append((True, padded, 1.0))
        self._calls += 1
        if self._calls > self._last:
            raise _Enough


@dataclass(frozen=True)
class Watched:
    """Pair a network with those of its parameters whose layers are looked at.

    Attributes:
        network: any network.
        weights: weights and biases, whose places in this sequence number them.
    """

    network: nn.Module
    weights: Sequence[Tensor]

    def inputs(
        self, layers: Sequence[Layer], mixtures: Sequence[Mixture], batch: Tensor, images: int, seed: int
    ) -> _Inputs:
        """Return the inputs of some layers for one batch; what runs behind the last of them does not run.

        Args:
            layers: those to look at.
            mixtures: how positions count, for each layer.
            batch: images [batch, channels, height, width].
            images: their number in all batches together, which decides the share of positions.
            seed: of the choice of positions.
        """
        inputs = _Inputs(layers, mixtures, images, seed)
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
    mixtures: Sequence[Mixture] | None = None,
    shrink: float = 0.0,
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
        mixtures: how positions count, for each layer; None: each apart.
        shrink: share of the moments of sums that is taken from those of each position, which have as many samples as
            there are positions and not only as many as there are images; 0 to 1.
        seed: of the choice of positions.
        reduce: sums over ranks.

    Returns:
        The moments of each layer, per image.
    """
    of_layers = mixtures or [EACH_APART] * len(layers)
    sums = _sums(watched, reference, layers, of_layers, batches, seed)
    count = float(reduce(torch.tensor(float(sum(map(len, batches))))))
    means = ([reduce(total) / count for total in of_layer] for of_layer in sums)
    return [_mixed(of_layer, mixture, shrink) for of_layer, mixture in zip(means, of_layers, strict=True)]


def _sums(
    watched: Watched,
    reference: Watched,
    layers: Sequence[Layer],
    mixtures: Sequence[Mixture],
    batches: Sequence[Tensor],
    seed: int,
) -> list[list[Tensor]]:
    """Sum for each layer own and cross moments of each position, and those of their sum if they count."""
    device, images = watched.weights[0].device, sum(map(len, batches))
    pairs = zip(layers, mixtures, strict=True)
    sums = {at.weight: [_zeros(at, device) for _ in range(4 if mixture.pooled else 2)] for at, mixture in pairs}
    for number, batch in enumerate(batches):
        of_both = [one.inputs(layers, mixtures, batch, images, seed + number).found for one in (reference, watched)]
        for weight, totals in sums.items():
            for (pooled, before, share), (_, now, _) in zip(*(found[weight] for found in of_both), strict=True):
                own, cross = totals[2:] if pooled else totals[:2]
                own.add_(torch.bmm(now, now.mT), alpha=1 / share)
                cross.add_(torch.bmm(before, now.mT), alpha=1 / share)
    return [sums[at.weight] for at in layers]


def _mixed(means: list[Tensor], mixture: Mixture, shrink: float) -> Moments:
    """Mix the moments of each position (own, cross) with those of their sum, if there are any."""
    if not mixture.pooled:
        return Moments(*means)
    traces = [total.diagonal(dim1=1, dim2=2).sum(1)[:, None, None] for total in (means[0], means[2])]
    apart = mixture.apart + mixture.pooled * shrink * traces[1] / traces[0].clamp(min=1e-300)
    pooled = mixture.pooled * (1 - shrink)
    return Moments(*(apart * each + pooled * of_sum for each, of_sum in zip(means[:2], means[2:], strict=True)))


def _zeros(layer: Layer, device: torch.device) -> Tensor:
    return torch.zeros(layer.groups, layer.columns, layer.columns, dtype=torch.float64, device=device)
