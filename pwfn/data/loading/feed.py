"""Feed loaders: with images transformed each time, or with tensors that were made once and kept."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from pwfn.data.images import ImageSet
from pwfn.data.transforms import Steps, Transform
from pwfn.randomness import own_streams, seed_streams

# Splits whose transformed tensors take less than this are kept in memory. It holds all of Fashion-MNIST at 32 pixels
# (234 MiB) and stays small next to what a process needs anyway for torch and a network; each rank keeps its own copy.
CACHE_BYTES = 512 * 2**20

Batch = tuple[Tensor, Tensor]


class Transformed(Dataset[tuple[Tensor, int]]):
    """Transform images each time they are asked for, by number: see `NumberedShare`.

    What a random step draws is a function of `seed` and the number: the same in whichever process, resumed or not.

    Args:
        images: of one split.
        steps: their transform.
        seed: of the run.
    """

    def __init__(self, images: ImageSet, steps: Steps, seed: int = 0) -> None:
        self.images = images
        self.steps = steps
        self.seed = seed

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, number: int) -> tuple[Tensor, int]:
        image, label = self.images[number % len(self)]
        if self.steps.random is None:
            return self.steps(image), label
        with own_streams():
            seed_streams(self.seed, number)
            return self.steps(image), label


class Cached(Dataset[tuple[Tensor, int]]):
    """Keep images after their fixed transform: `images` float32 [n, C, H, W], `labels` int64 [n].

    They are asked for by number, and drawn for, as those of `Transformed` are.

    Args:
        images: after the fixed steps.
        labels: class numbers.
        random: the random steps; None where there are none.
        seed: of the run.
    """

    def __init__(self, images: Tensor, labels: Tensor, random: Transform | None, seed: int = 0) -> None:
        self.images = images
        self.labels = labels
        self.random = random
        self.seed = seed

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, number: int) -> tuple[Tensor, int]:
        images, labels = self.__getitems__([number])
        return images[0], int(labels[0])

    def __getitems__(self, numbers: list[int]) -> Batch:
        """Return a whole batch with one indexing; the DataLoader prefers this method where a dataset has it."""
        indices = [number % len(self) for number in numbers]
        images = self.images[indices]
        if self.random is not None:
            images = torch.stack(self._augmented(images, numbers))
        return images, self.labels[indices]

    def _augmented(self, images: Tensor, numbers: list[int]) -> list[Tensor]:
        assert self.random is not None
        augmented = []
        with own_streams():
            for image, number in zip(images, numbers, strict=True):
                seed_streams(self.seed, number)
                augmented.append(self.random(image))
        return augmented


def feed(images: ImageSet, steps: Steps, cache_bytes: int, seed: int = 0) -> Transformed | Cached:
    """Choose the data set behind a loader: `Cached` where the fixed tensors fit, else `Transformed`.

    Args:
        images: of one split.
        steps: their transform; nothing of it can be kept where it has no fixed steps.
        cache_bytes: size that the tensors of all images together must stay below.
        seed: of the run, for the random steps.

    Returns:
        A data set of tensors and labels, which is asked by number.
    """
    if steps.fixed is None:
        return Transformed(images, steps, seed)
    first: Tensor = steps.fixed(images[0][0])
    if len(images) * first.numel() * first.element_size() >= cache_bytes:
        return Transformed(images, steps, seed)
    kept = torch.empty((len(images), *first.shape), dtype=first.dtype)
    for index in range(len(images)):
        kept[index] = steps.fixed(images[index][0])
    return Cached(kept, torch.from_numpy(images.labels.astype(np.int64)), steps.random, seed)


def as_is(batch: Batch) -> Batch:
    """Collate nothing: the batches of `Cached` are whole already."""
    return batch
