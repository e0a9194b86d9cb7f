"""Give a tolerance the gradients that it asks for, of a network's training images."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pwfn.bayesian.posterior import quantized_tensors
from pwfn.clustering.tolerance import Gradients, Tolerance
from pwfn.curvature import Watched, kronecker_diagonal, squared_gradients
from pwfn.data.module import ImageDataModule

BATCH_IMAGES = 64  # images that Kronecker factors are summed over at once


def gradients_for(tolerance: Tolerance, network: nn.Module, data: ImageDataModule) -> Gradients:
    """Return what `tolerance` is called with: squared gradients of batches, or of Kronecker factors.

    Args:
        tolerance: Says whether it looks at batches or at factors.
        network: Bayesian; gradients are those of its means.
        data: Gives the training images.
    """
    return (gradients_of_factors if tolerance.factor_images else gradients_of_batches)(network, data)


def gradients_of_batches(network: nn.Module, data: ImageDataModule) -> Gradients:
    """Return a function of the number of batches: squared gradients over this rank's images.

    It computes where the network is.
    """
    means = [tensor.mu for tensor in quantized_tensors(network)]
    return lambda batches: squared_gradients(network, means, data.batches_outside_fits(), batches)


def gradients_of_factors(network: nn.Module, data: ImageDataModule) -> Gradients:
    """Return a function of the number of images: squared gradients by factors of this rank's images.

    It computes where the network is.
    """
    means = [tensor.mu for tensor in quantized_tensors(network)]

    def gradients(images: int) -> Tensor:
        with torch.enable_grad():
            return kronecker_diagonal(Watched(network, means), data.calibration_images(images).split(BATCH_IMAGES))

    return gradients
