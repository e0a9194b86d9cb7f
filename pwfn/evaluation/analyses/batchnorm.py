"""BatchNorm's statistics, which training gathers under weight noise, gathered anew at the mean weights."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from pwfn.evaluation.measure import Setup
from pwfn.evaluation.subject import CLUSTERED
from pwfn.models.batchnorm import reestimate

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
