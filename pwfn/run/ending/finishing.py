"""Follow the last clustering: train what is not quantized, and estimate BatchNorm statistics again."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from pwfn.bayesian.posterior import quantized_tensors
from pwfn.errors import RunError, require
from pwfn.models.batchnorm import with_statistics
from pwfn.training.optimizer import OptimizerSpec


@dataclass(frozen=True)
class Finishing:
    """Choose what follows the last clustering. No quantized weight changes by one bit.

    Attributes:
        epochs: passes in which only what is not quantized trains, at the mean weights; 0 = none.
        batchnorm_images: training images over which BatchNorm statistics are gathered anew after that; 0 = not.
        optimizer: of these epochs.
    """

    epochs: int
    batchnorm_images: int
    optimizer: OptimizerSpec

    def __post_init__(self) -> None:
        whole = "an integer from 0"
        require(self, epochs=(self.epochs >= 0, whole), batchnorm_images=(self.batchnorm_images >= 0, whole))

    @property
    def wanted(self) -> bool:
        """Tell whether anything follows."""
        return self.epochs > 0 or self.batchnorm_images > 0

    def check(self, network: nn.Module) -> None:
        """Raise RunError for what the network has nothing to train or gather."""
        quantized = {id(p) for t in quantized_tensors(network) for p in (t.mu, t.gaussian.sigma)}
        if self.epochs and all(id(parameter) in quantized for parameter in network.parameters()):
            raise RunError(
                f"finish.epochs = {self.epochs}: must be 0, because every parameter of this model is quantized: "
                "nothing is left to train"
            )
        if self.batchnorm_images and not with_statistics(network):
            raise RunError(
                f"finish.batchnorm_images = {self.batchnorm_images}: must be 0, because this model has no BatchNorm "
                "layer that keeps statistics"
            )
