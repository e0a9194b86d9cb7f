"""Re-estimate the running statistics of BatchNorm with the present weights."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

if TYPE_CHECKING:
    from pwfn.models.precision import Computing


def with_statistics(network: nn.Module) -> list[_BatchNorm]:
    """List the BatchNorm layers of `network` that keep statistics."""
    return [m for m in network.modules() if isinstance(m, _BatchNorm) and m.running_mean is not None]


@torch.no_grad()
def reestimate(
    network: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], on: Computing, images: int
) -> tuple[int, int]:
    """Replace the statistics of every BatchNorm layer, in place, by their mean over some batches.

    Each batch counts the same, as in torch's own `update_bn`.

    Args:
        network: is in evaluation mode afterwards.
        batches: images [n, C, H, W] and labels, which are not used.
        on: device and precision.
        images: no further batch is taken once so many were seen.

    Returns:
        How many layers there are, and how many images were used.
    """
    layers = with_statistics(network)
    if not layers:
        return 0, 0
    momentum = [layer.momentum for layer in layers]
    network.eval()
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # the mean over all batches, each with the same weight
        layer.train()
    seen = 0
    for batch, _ in batches:
        with on.context():
            network(batch.to(on.device))
        seen += len(batch)
        if seen >= images:
            break
    for layer, own in zip(layers, momentum, strict=True):
        layer.momentum = own
    network.eval()
    return len(layers), seen
