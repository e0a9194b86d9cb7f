"""BatchNorm's statistics, which training gathers under weight noise, gathered anew at the mean weights."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor, nn

from pwfn.evaluation.measure import Setup
from pwfn.evaluation.predict import Computing
from pwfn.evaluation.subject import CLUSTERED

NAME = "new BN"


def with_new_statistics(setup: Setup) -> Setup:
    """The set-up with one network more: the clustered one with new statistics over `batchnorm_images` training images."""
    subject, count = setup.subject, setup.settings.batchnorm_images

    def build() -> nn.Module:
        network = setup.network(CLUSTERED)
        layers, seen = reestimate(network, setup.subject.data.train_dataloader(), setup.on, count)
        subject.notes.append(
            f"{NAME} is the clustered network with the statistics of its {layers} BatchNorm layers gathered anew, at "
            f"the mean weights, over {seen:,} training images."
            if layers
            else f"{NAME} is the clustered network: it has no BatchNorm layers."
        )
        return network

    return replace(setup, subject=replace(subject, networks={**subject.networks, NAME: build}))


@torch.no_grad()
def reestimate(
    network: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], on: Computing, images: int
) -> tuple[int, int]:
    """Replace the statistics of every BatchNorm layer, in place, by their mean over the first batches that hold `images`.

    Returns how many layers there are and how many images were used. Labels are not looked at; each batch counts the
    same, as in torch's own `update_bn`.
    """
    layers = [
        module
        for module in network.modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None
    ]
    if not layers:
        return 0, 0
    momentum = [layer.momentum for layer in layers]
    network.eval()
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # the plain mean over all batches
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
