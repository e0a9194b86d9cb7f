"""Load batches of bytes, which the device that trains on them turns into normalized numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import default_collate

from pwfn.data.loading.feed import Batch
from pwfn.data.transforms import Config


@dataclass(frozen=True)
class Normalization:
    """Do what torchvision's ToTensor and Normalize do, in that order: `(byte / 255 - mean) / std`.

    `mean` and `std` have a number for each color channel.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def of(cls, config: Config) -> Normalization:
        """Take the levels of a config of `pwfn.data.transforms.transform_config`."""
        return cls(tuple(config["mean"]), tuple(config["std"]))

    def __call__(self, images: Tensor) -> Tensor:
        """Return bytes [n, C, H, W] as float32 on their device; any other numbers are returned as they came."""
        if images.dtype != torch.uint8:
            return images
        mean, std = _levels(self.mean, self.std, images.device)
        return images.to(torch.float32).div_(255).sub_(mean).div_(std)


@lru_cache(maxsize=16)
def _levels(mean: tuple[float, ...], std: tuple[float, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    """Keep mean and std [1, C, 1, 1] on the device: sending them with each batch makes the host wait."""
    values = torch.tensor((mean, std), dtype=torch.float32).view(2, 1, -1, 1, 1).to(device)
    return values[0], values[1]


@dataclass(frozen=True)
class NormalizedCollate:
    """Collate, then normalize: for loaders whose batches no Lightning hook sees. Workers can pickle it."""

    normalization: Normalization
    collate: Callable[[Any], Any] = default_collate

    def __call__(self, samples: Any) -> Batch:
        """Return a batch of float32 images and their labels."""
        images, labels = self.collate(samples)
        return self.normalization(images), labels
