"""Split the images that a network is compressed with: most make statistics, some measure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

HELD_OUT = 8  # one of so many images makes no statistics, and measures what the others predict
OF_FEW = 4  # one of so many, where that is no more than HELD_OUT images: one or two alone would measure little


@dataclass(frozen=True)
class Calibration:
    """Hold images that a network is compressed with; they have no labels.

    Attributes:
        batches: those that make statistics, each [batch, channels, height, width].
        held_out: those that measure what the others predict.
    """

    batches: Sequence[Tensor]
    held_out: Sequence[Tensor]

    @classmethod
    def of(cls, images: Tensor, batch_size: int = 64) -> Calibration:
        """Split images [images, channels, height, width]: the last eighth measures, of few up to a quarter.

        Raises:
            ValueError: there are fewer than two.
        """
        if len(images) < 2:
            raise ValueError(f"curvature is estimated from two images at least, there are {len(images)}")
        held = max(1, len(images) // HELD_OUT, min(len(images) // OF_FEW, HELD_OUT))
        return cls(images[:-held].split(batch_size), images[-held:].split(batch_size))
