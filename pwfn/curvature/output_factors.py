"""Estimate the output factors of the Kronecker-factored curvature: how much the loss feels each output of a layer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from pwfn.curvature.input_moments import Reduce, Watched
from pwfn.curvature.layers import Layer
from pwfn.curvature.linear_calls import LinearCall, LinearCalls, evaluating


def output_factors(
    watched: Watched,
    layers: Sequence[Layer],
    batches: Sequence[Tensor],
    *,
    seed: int = 0,
    reduce: Reduce = lambda total: total,
) -> list[Tensor]:
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
        For each layer float64 [groups, rows], the mean over images and positions.
    """
    totals = {at.weight: torch.zeros(at.groups * at.rows, dtype=torch.float64) for at in layers}
    positions = dict.fromkeys(totals, 0)
    generator = torch.Generator().manual_seed(seed)
    for batch in batches:
        for call, gradient in output_gradients(watched, batch, generator):
            if call.weight in totals:
                squared = call.by_output(gradient).double().square()
                totals[call.weight] += squared.sum(1).cpu()
                positions[call.weight] += squared.shape[1]
    factors = []
    for at in layers:
        count = float(reduce(torch.tensor(float(positions[at.weight]))))
        factors.append((reduce(totals[at.weight]) / max(count, 1.0)).view(at.groups, at.rows))
    return [factor.to(watched.weights[0].device) for factor in factors]


def output_gradients(
    watched: Watched, batch: Tensor, generator: torch.Generator
) -> Iterator[tuple[LinearCall, Tensor]]:
    """Yield each call of a forward pass with the gradient of its output, for one draw of the labels."""
    calls: list[LinearCall] = []
    with evaluating(watched.network, watched.weights, gradients=True):
        with LinearCalls(watched.weights, calls.append):
            logits = watched.network(batch.to(watched.weights[0].device))
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
    """
    return torch.lerp(factor, mean_factor(factor, gain), strength / (strength + images) if strength else 0.0)


def mean_factor(factor: Tensor, gain: Tensor | None = None) -> Tensor:
    """Return what each output of a layer would have if all counted alike, behind their gains."""
    if gain is None:
        return factor.mean().expand_as(factor)
    squared = gain.square().view_as(factor)
    return squared * (factor.sum() / squared.sum().clamp(min=1e-300))
