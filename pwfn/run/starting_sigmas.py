"""Set the starting sigmas of a run's network, from the prior and from what the training images say."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from pwfn.bayesian.posterior import quantized_tensors, set_sigma
from pwfn.bayesian.starting_sigma import Evidence, SigmaError
from pwfn.curvature import Watched, kronecker_diagonals
from pwfn.data.loading.samplers import rank_and_world_size
from pwfn.data.module import ImageDataModule
from pwfn.run.rounds.tolerance_gradients import BATCH_IMAGES
from pwfn.run.settings import TrainSettings
from pwfn.training.distributed import all_reduce_sum, broadcast_tensors


def set_starting_sigmas(
    network: nn.Module, settings: TrainSettings, data: ImageDataModule | None, say: Callable[[str], None]
) -> None:
    """Set every sigma to the prior's, then to what `settings.sigma` makes of it: the same on every rank.

    Args:
        network: Bayesian; it computes where it is.
        settings: of the run.
        data: of this rank; may be None where `settings.sigma` reads no images.
        say: is given lines for the user.

    Raises:
        SigmaError: on every rank, if no sigmas can be made.
    """
    set_sigma(network, settings.prior)
    tensors = quantized_tensors(network)
    count = data.count("train") if data is not None and settings.sigma.curvature_images else None

    def squared_gradients(images: int) -> list[Tensor | None]:
        assert data is not None  # what reads images says so by curvature_images
        ranks = rank_and_world_size()[1]
        if images < ranks:
            raise SigmaError(f"sigma.images = {images}: must be at least {ranks}, an image for each process")
        found = data.calibration_images(images)
        watched = Watched(network, [tensor.mu for tensor in tensors])
        try:
            with torch.enable_grad():
                return kronecker_diagonals(watched, found.split(BATCH_IMAGES), reduce=all_reduce_sum)
        except ValueError as error:
            raise SigmaError(f"sigma: {error}") from error

    with torch.no_grad():
        lines = settings.sigma(tensors, Evidence(count, squared_gradients))
        if settings.sigma.curvature_images:  # sums over ranks may differ in their last bits
            for tensor in tensors:
                (same,) = broadcast_tensors([tensor.gaussian.sigma.cpu()])
                tensor.gaussian.sigma.copy_(same)
    for line in lines:
        say(line)
