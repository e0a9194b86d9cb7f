"""Gray images that are known again by their value, and what a loader of streamed images gave."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image

from pwfn.data.loading.stream_loader import StreamedEpoch, StreamLoader
from pwfn.data.streams import ImageStream, Part, Raw
from pwfn.data.transforms import Steps


def png(value: int) -> bytes:
    """A picture of one gray value, by which it is known again."""
    content = io.BytesIO()
    Image.new("L", (2, 2), value).save(content, "PNG")
    return content.getvalue()


@dataclass
class Counting(ImageStream):
    """Images 0, 1, 2, ..., of which every part takes its share; shuffled by rotation."""

    count: int = 0

    def raw(self, part: Part, seed: int | None) -> Iterator[Raw]:
        order = range(self.count) if seed is None else np.random.default_rng(seed).permutation(self.count)
        for value in order[part.index :: part.count]:
            yield Raw(io.BytesIO(png(int(value))), int(value) % 2, f"image {value}")


def counting(count: int, length: int | None = None) -> Counting:
    return Counting("counting", 2, length or count, 10, count)


def value_of(image: Image.Image) -> int:
    return int(np.asarray(image)[0, 0].max())


def to_tensor(image: Image.Image) -> torch.Tensor:
    return torch.tensor([float(value_of(image))])


STEPS = Steps(to_tensor, None)


def values(loader: Any) -> list[int]:
    return [int(value) for images, _ in loader for value in images.flatten()]


def batches(loader: Any) -> list[int]:
    return [len(labels) for _, labels in loader]


def epoch_loader(stream: ImageStream, rank: int, world_size: int, workers: int, count: int, **changed: Any) -> Any:
    images = StreamedEpoch(stream, STEPS, rank, world_size, count=count, batch_size=4, seed=changed.get("seed", 0))
    return StreamLoader(images, lambda: changed.get("epoch", 0), batch_size=4, num_workers=workers)
