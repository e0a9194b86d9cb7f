"""Estimate output factors of Kronecker-factored curvature: how the loss feels each layer's outputs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pwfn.curvature.input_moments import EACH_APART, Mixture, Reduce, Watched
from pwfn.curvature.layers import Layer
from pwfn.curvature.linear_calls import LinearCall, LinearCalls, evaluating

MOST_NUMBERS = 16 * 3 * 224 * 224  # of the images whose activations are in memory at once


@dataclass(frozen=True)
class OutputFactor:
    """Summarize the gradients of the outputs of a layer.

    Attributes:
        squares: g_o = E[(dL/dy_o)^2], the mean over images and positions, float64 [groups, rows].
        common: share that the mean over the positions of an image has in it: 1 if they are equal at all positions, one
            over the number of positions if they are independent.
        positions: of an image.
    """

    squares: Tensor
    common: float
    positions: float

    @property
    def mixture(self) -> Mixture:
        """Return how the positions of the inputs count: apart as far as the gradients differ, else together."""
        if self.positions <= 1:
            return EACH_APART
        apart = (1 - self.common) * self.positions / (self.positions - 1)
        return Mixture(apart, self.common - apart / self.positions) if apart < 1 else EACH_APART


def output_factors(
    watched: Watched,
    layers: Sequence[Layer],
    batches: Sequence[Tensor],
    *,
    seed: int = 0,
    reduce: Reduce = lambda total: total,
) -> list[OutputFactor]:
    """Estimate the mean squared gradients g_o = E[(dL/dy_o)^2] of the outputs of each layer.

    Labels are the network's own predictions p (the true Fisher information: no labels are needed). The gradients of
    the cross entropy with drawn labels have the covariance diag(p) - p p^T at the logits. What is drawn here is
    sqrt(p) e - p (sqrt(p) . e) with random signs e: it has the same covariance, and far lighter tails where the network
    is confident, so that fewer images are enough.

    Args:
        watched: the network, at its current weights; run in evaluation mode.
        layers: those to look at.
        batches: images, each [batch, channels, height, width].
        seed: of the draws.
        reduce: sums over ranks.

    Returns:
        One for each layer, its squares on the device of the weights.
    """
    if not layers:
        return []
    totals = {at.weight: OutputTotals(at) for at in layers}
    generator = torch.Generator().manual_seed(seed)
    for batch in batches:
        for call, gradient in output_gradients(watched, batch, generator):
            if call.weight in totals:
                totals[call.weight].add(call, gradient)
    return [totals[at.weight].factor(reduce, watched.weights[0].device) for at in layers]


class OutputTotals:
    """Sum what one layer's output factor is made of, on its device until it is asked for."""

    def __init__(self, layer: Layer) -> None:
        self._layer = layer
        self._squares = torch.zeros(layer.groups * layer.rows, dtype=torch.float64)
        self._means = torch.zeros((), dtype=torch.float64)  # squares of the means over positions
        self._counts = torch.zeros(2, dtype=torch.float64)  # images and positions; images

    def add(self, call: LinearCall, gradient: Tensor) -> None:
        """Add the gradients of one call."""
        of_image = call.by_image(gradient).double()
        images, _, positions = of_image.shape
        self._squares = self._squares.to(gradient.device) + of_image.square().sum((0, 2))
        self._means = self._means.to(gradient.device) + of_image.mean(2).square().sum() * positions
        self._counts += torch.tensor([images * positions, images], dtype=torch.float64)

    def factor(self, reduce: Reduce, device: torch.device) -> OutputFactor:
        """Return the factor of the images of all ranks."""
        squares, others = self._squares.cpu(), torch.cat([self._counts, self._means.cpu().view(1)])
        squares, (count, images, means) = reduce(squares), reduce(others).tolist()
        whole = float(squares.sum())
        return OutputFactor(
            (squares / max(count, 1.0)).view(self._layer.groups, self._layer.rows).to(device),
            means / whole if whole else 0.0,
            count / max(images, 1.0),
        )


def output_gradients(
    watched: Watched, batch: Tensor, generator: torch.Generator
) -> Iterator[tuple[LinearCall, Tensor]]:
    """Yield each call of a forward pass with the gradient of its output, for one draw of the labels.

    Of large images a few go through the network at a time, because all its activations are in memory together.

    Args:
        watched: the network, run in evaluation mode.
        batch: images [batch, channels, height, width].
        generator: of the labels, on the CPU.

    Yields:
        The call, and d loss / d output for each image, of the output's shape.
    """
    for images in batch.split(max(1, MOST_NUMBERS // batch[0].numel())):
        yield from _gradients_at_once(watched, images, generator)  # whose tensors are gone before the next images


def _gradients_at_once(
    watched: Watched, images: Tensor, generator: torch.Generator
) -> Iterator[tuple[LinearCall, Tensor]]:
    calls: list[LinearCall] = []
    with evaluating(watched.network, watched.weights, gradients=True):
        with LinearCalls(watched.weights, calls.append):
            logits = watched.network(images.to(watched.weights[0].device))
        root = logits.detach().softmax(1).sqrt()
        signs = torch.randint(0, 2, logits.shape, generator=generator).to(root) * 2 - 1
        drawn = root * signs - root.square() * (root * signs).sum(1, keepdim=True)
        gradients = torch.autograd.grad(logits, [call.returned for call in calls], drawn, allow_unused=True)
    for call, gradient in zip(calls, gradients, strict=True):
        if gradient is not None:
            yield call, gradient


def shrunk(factor: Tensor, images: int, strength: float, gain: Tensor | None = None) -> Tensor:
    """Move an output factor towards the mean of its layer, the more the fewer images there were.

    Where a batch normalization multiplies each output with a gain of its own, the mean is that of what comes out of it:
    an output that is multiplied by ten counts a hundred times as much.

    Args:
        factor: float64 [groups, rows].
        images: how many it was estimated from.
        strength: the number of images at which the layer's mean counts as much as the estimate; 0 = no shrinking.
        gain: of each output, float64 [groups * rows]; None: 1.

    Returns:
        The factor, of the same shape.
    """
    return torch.lerp(factor, mean_factor(factor, gain), strength / (strength + images) if strength else 0.0)


def mean_factor(factor: Tensor, gain: Tensor | None = None) -> Tensor:
    """Return what each output of a layer would have if all counted alike, behind their gains."""
    if gain is None:
        return factor.mean().expand_as(factor)
    squared = gain.square().view_as(factor)
    return squared * (factor.sum() / squared.sum().clamp(min=1e-300))
