"""Measure the clustered network with BatchNorm statistics estimated again at the mean weights."""

from __future__ import annotations

from dataclasses import replace

from torch import nn
from typing_extensions import override

from pwfn.evaluation.analyses.analysis import Analysis
from pwfn.evaluation.measure import Measured, Setup
from pwfn.evaluation.subject import CLUSTERED
from pwfn.evaluation.tables import Section
from pwfn.models.batchnorm import reestimate

NAME = "new BN"


class NewStatistics(Analysis):
    """Add a network: the clustered one with statistics over `batchnorm_images` training images.

    Training gathers the statistics under weight noise, which the mean weights do not have.
    """

    @property
    @override
    def wanted(self) -> bool:
        return self.settings.batchnorm_images > 0

    @override
    def prepare(self, setup: Setup) -> Setup:
        subject, count = setup.subject, self.settings.batchnorm_images

        def build() -> nn.Module:
            network = setup.network(CLUSTERED)
            layers, seen = reestimate(network, subject.data.train_dataloader(), setup.on, count)
            subject.notes.append(
                f"{NAME} is the clustered network with the statistics of its {layers} BatchNorm layers gathered anew, "
                f"at the mean weights, over {seen:,} training images."
                if layers
                else f"{NAME} is the clustered network: it has no BatchNorm layers."
            )
            return network

        return replace(setup, subject=replace(subject, networks={**subject.networks, NAME: build}))

    @override
    def run(self, setup: Setup, measured: Measured) -> Section | None:
        del setup, measured  # the row of the added network says it all
        return None
