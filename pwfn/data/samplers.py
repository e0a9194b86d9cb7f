"""Which image comes when, on which process. Every order is a function of (seed, epoch, rank) and of nothing else."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler


def share_of(count: int, share: float) -> int:
    """How many of `count` images an epoch sees that sees this share of them."""
    # rounded first, or 0.07 of 100 would be 8: the product is 7.000000000000001
    return math.ceil(round(share * count, 6))


def images_per_rank(count: int, share: float, world_size: int) -> int:
    """How many of them each rank is given: equally many, because one with a batch less would leave the others waiting."""
    return math.ceil(share_of(count, share) / world_size)


def ends_in_one(images: int, batch_size: int) -> bool:
    """Whether the last of several batches would be a single image. It is left out: BatchNorm cannot train on it."""
    return images > batch_size and images % batch_size == 1


class ShuffledShare(Sampler[int]):
    """The first `share_of` images of a shuffled order that is new in every epoch, dealt out to the ranks.

    A few images are repeated if need be, so that ranks get equally many. torch's DistributedSampler knows no share and
    seeds with `seed + epoch`, so that epoch 1 of seed 0 would be epoch 0 of seed 1.

    A resumed run has seen some of an epoch: `skip(epoch, images)` passes over those; the length stays that of the whole
    epoch.
    """

    def __init__(self, count: int, seed: int, share: float = 1.0, rank: int = 0, world_size: int = 1) -> None:
        self.count, self.seed, self.rank, self.world_size = count, seed, rank, world_size
        self.share = share
        self.epoch = 0
        self._skipped = (0, 0)

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls this before each training epoch, on every sampler that has it."""
        self.epoch = epoch

    def skip(self, epoch: int, images: int) -> None:
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
    """Image i of epoch e is called `e * count + i`, so that whoever augments it knows in which epoch: see `Seeded`."""

    def __iter__(self) -> Iterator[int]:
        first = self.epoch * self.count
        return (first + index for index in super().__iter__())


class EachOnce(Sampler[int]):
    """Every `world_size`-th image from `rank` on, in order: over all ranks each image comes exactly once."""

    def __init__(self, count: int, rank: int = 0, world_size: int = 1) -> None:
        self.indices = range(rank, count, world_size)

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[int]:
        return iter(self.indices)
