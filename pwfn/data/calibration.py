"""Take a few training images for statistics: without augmentation, and without their labels."""

from __future__ import annotations

from itertools import islice

import numpy as np
import torch
from torch import Tensor

from pwfn.data.images import ImageSet
from pwfn.data.loading.feed import Transformed
from pwfn.data.loading.stream_loader import Streamed
from pwfn.data.streams import ImageStream
from pwfn.data.transforms import Steps


def calibration_images(
    images: ImageSet | ImageStream, steps: Steps, seed: int, count: int, rank: int = 0, world_size: int = 1
) -> Tensor:
    """Return `count` images as they are tested, or as many as there are: this rank's share of them.

    They are the same ones for the same seed. Of a stream they are its first ones.

    Args:
        images: of the training split.
        steps: what a test does to an image.
        seed: chooses them.
        count: over all ranks, from 1.
        rank: which process this is.
        world_size: how many there are.

    Returns:
        [images, channels, height, width].
    """
    if isinstance(images, ImageStream):
        found = [image for image, _ in islice(iter(Streamed(images, steps, rank, world_size)), -(-count // world_size))]
    else:
        transformed = Transformed(images, steps, seed)
        chosen = np.random.default_rng([seed]).permutation(len(images))[:count][rank::world_size]
        found = [transformed[int(index)][0] for index in chosen]
    return torch.stack(found)
