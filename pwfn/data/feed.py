"""What a loader reads from: images transformed each time, or tensors that were made once and kept."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from pwfn.data.images import ImageSet
from pwfn.data.transforms import Steps, Transform

# Splits whose transformed tensors take less than this are kept in memory. It holds all of Fashion-MNIST at 32 pixels
# (234 MiB) and stays small next to what a process needs anyway for torch and a network; each rank keeps its own copy.
CACHE_BYTES = 512 * 2**20

Batch = tuple[Tensor, Tensor]


class Transformed(Dataset[tuple[Tensor, int]]):
    """Images that are transformed each time they are asked for."""

    def __init__(self, images: ImageSet, steps: Steps) -> None:
        self.images = images
        self.steps = steps

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image, label = self.images[index]
        return self.steps(image), label


class Cached(Dataset[tuple[Tensor, int]]):
    """Images whose fixed transform was done once: `images` float32 [n, C, H, W], `labels` int64 [n]."""

    def __init__(self, images: Tensor, labels: Tensor, random: Transform | None) -> None:
        self.images = images
        self.labels = labels
        self.random = random

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = self.images[index]
        return image if self.random is None else self.random(image), int(self.labels[index])

    def __getitems__(self, indices: list[int]) -> Batch:
        """A whole batch with one indexing: the DataLoader prefers this method where a dataset has it."""
        images = self.images[indices]
        if self.random is not None:
            images = torch.stack([self.random(image) for image in images])
        return images, self.labels[indices]


def feed(images: ImageSet, steps: Steps, cache_bytes: int) -> Transformed | Cached:
    """What a loader reads from: `Cached` if the transformed images need less than `cache_bytes`, else `Transformed`."""
    if steps.fixed is None:
        return Transformed(images, steps)
    first: Tensor = steps.fixed(images[0][0])
    if len(images) * first.numel() * first.element_size() >= cache_bytes:
        return Transformed(images, steps)
    kept = torch.empty((len(images), *first.shape), dtype=first.dtype)
    for index in range(len(images)):
        kept[index] = steps.fixed(images[index][0])
    return Cached(kept, torch.from_numpy(images.labels.astype(np.int64)), steps.random)


def as_is(batch: Batch) -> Batch:
    """The collate function of `Cached`, whose batches are whole already."""
    return batch
