"""Order images by a function of (seed, epoch, rank) and of nothing else."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch.distributed
from torch.utils.data import Sampler


def share_of(count: int, share: float) -> int:
    """Count the images of an epoch that sees this share, above 0 to 1, of `count` images."""
    # rounded first, or 0.07 of 100 would be 8: the product is 7.000000000000001
    return math.ceil(round(share * count, 6))


def images_per_rank(count: int, share: float, world_size: int) -> int:
    """Count each rank's images: equally many, or a rank with a batch less would leave the others waiting.

    Args:
        count: Images of the set.
        share: Share of them that an epoch sees, above 0 to 1.
        world_size: Ranks, from 1.
    """
    return math.ceil(share_of(count, share) / world_size)


def ends_in_one(images: int, batch_size: int) -> bool:
    """Tell whether the last of several batches would be one image, which BatchNorm cannot train on.

    It is left out.
    """
    return images > batch_size and images % batch_size == 1


class ShuffledShare(Sampler[int]):
    """Deal out the first `share_of` images of a shuffled order that is new in every epoch.

    A few images are repeated if need be, so that ranks get equally many. torch's DistributedSampler knows no share and
    seeds with `seed + epoch`, so that epoch 1 of seed 0 would be epoch 0 of seed 1.

    A resumed run has seen some of an epoch: `skip(epoch, images)` passes over those; the length stays that of the whole
    epoch.

    Args:
        count: images of the set.
        seed: of the run.
        share: of the images that an epoch sees, above 0 to 1.
        rank: of this process.
        world_size: number of ranks.
    """

    def __init__(self, count: int, seed: int, share: float = 1.0, rank: int = 0, world_size: int = 1) -> None:
        self.count, self.seed, self.rank, self.world_size = count, seed, rank, world_size
        self.share = share
        self.epoch = 0
        self._skipped = (0, 0)

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch; Lightning calls this before each training epoch, on every sampler that has it."""
        self.epoch = epoch

    def skip(self, epoch: int, images: int) -> None:
        """Pass over the first `images` of `epoch`, which a resumed run has seen."""
        self._skipped = (epoch, images)

    def __len__(self) -> int:
        return images_per_rank(self.count, self.share, self.world_size)

    def __iter__(self) -> Iterator[int]:
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self.count)[
            : share_of(self.count, self.share)
        ]
        padded = np.resize(order, len(self) * self.world_size)
        epoch, images = self._skipped
        return iter(padded[self.rank :: self.world_size][images if epoch == self.epoch else 0 :].tolist())


class NumberedShare(ShuffledShare):
    """Call image i of epoch e `e * count + i`, so that its augmentation is drawn anew in each epoch."""

    def __iter__(self) -> Iterator[int]:
        first = self.epoch * self.count
        return (first + index for index in super().__iter__())


class EachOnce(Sampler[int]):
    """Give every `world_size`-th image from `rank` on: over all ranks each image comes exactly once.

    Args:
        count: images of the set.
        rank: of this process.
        world_size: number of ranks.
    """

    def __init__(self, count: int, rank: int = 0, world_size: int = 1) -> None:
        self.indices = range(rank, count, world_size)

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[int]:
        return iter(self.indices)


def rank_and_world_size() -> tuple[int, int]:
    """Return rank and world size; (0, 1) outside of a process group."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1
