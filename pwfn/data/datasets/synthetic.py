"""Generate images: something to learn within seconds, on any machine."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from pwfn.data.images import ArrayImages
from pwfn.data.spec import ImageData, Splits, is_integer

# Templates are drawn on a grid of so many points a side, then enlarged: smooth patterns survive crops and strides.
GRID = 4


@dataclass(frozen=True, kw_only=True)
class Synthetic(ImageData):
    """Draw a smooth random pattern for each class (from `split_seed`), and noise for each image.

    Attributes:
        channels: 1 (gray) or 3 (RGB).
        num_classes: number of patterns, from 2.
        pixels: side of the square images.
        train_size: training images.
        test_size: test images.
        noise: its standard deviation, as a share of the range from black to white.
    """

    channels: int = 1
    num_classes: int = 10
    pixels: int = 32
    train_size: int = 400
    test_size: int = 200
    noise: float = 0.15

    @property
    @override
    def class_names(self) -> None:
        return None

    @property
    @override
    def known_images(self) -> int:
        return self.train_size

    @override
    def rules(self) -> dict[str, tuple[bool, str]]:
        return {
            "channels": (self.channels in (1, 3), "1 or 3"),
            "num_classes": (is_integer(self.num_classes, 2), "an integer from 2"),
            "pixels": (is_integer(self.pixels, 1), "an integer from 1"),
            "train_size": (is_integer(self.train_size, 1), "an integer from 1"),
            "test_size": (is_integer(self.test_size, 1), "an integer from 1"),
            "noise": (isinstance(self.noise, (int, float)) and self.noise >= 0, "a number from 0"),
        }

    @override
    def load(self) -> Splits:
        templates, train, test = (np.random.default_rng([self.split_seed, stream]) for stream in range(3))
        patterns = self._patterns(templates)
        return Splits(self._images(patterns, self.train_size, train), self._images(patterns, self.test_size, test))

    def _patterns(self, rng: np.random.Generator) -> NDArray[np.float64]:
        """Draw [num_classes, H, W, channels], between 0.2 and 0.8 so that little of the noise is clipped."""
        import torch

        coarse = torch.from_numpy(rng.uniform(size=(self.num_classes, self.channels, GRID, GRID)))
        fine = torch.nn.functional.interpolate(coarse, size=(self.pixels, self.pixels), mode="bilinear")
        return (0.2 + 0.6 * fine).permute(0, 2, 3, 1).numpy()

    def _images(self, patterns: NDArray[np.float64], count: int, rng: np.random.Generator) -> ArrayImages:
        labels = rng.permutation(np.arange(count) % self.num_classes)
        values = patterns[labels]
        values = values + self.noise * rng.standard_normal(values.shape)
        pixels = np.round(255 * values.clip(0, 1)).astype(np.uint8)
        return ArrayImages(pixels[..., 0] if self.channels == 1 else pixels, labels)
