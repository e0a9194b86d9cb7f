"""Mix the images of a training batch by timm's mixup and CutMix.

`pwfn.data.augment` augments single images.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from pwfn.errors import require


@dataclass(frozen=True, kw_only=True)
class Mix:
    """Choose how a batch is mixed: mixup (arXiv:1710.09412), CutMix (arXiv:1905.04899) or both.

    Attributes:
        mixup: a of Beta(a, a), which mixup draws the share of an image from; 0 = off.
        cutmix: the same for CutMix, where it is the share of the area.
        prob: share of the batches that are mixed, 0 to 1.
        switch_prob: share of these that CutMix mixes where both are on, 0 to 1.
        mode: what shares one draw: the whole batch, a pair of images, or no two images (elem).
    """

    mixup: float = 0.0
    cutmix: float = 0.0
    prob: float = 1.0
    switch_prob: float = 0.5
    mode: Literal["batch", "pair", "elem"] = "batch"

    def __post_init__(self) -> None:
        from_0 = "a number from 0 (0 = off)"
        require(
            self,
            mixup=(0 <= self.mixup < math.inf, from_0),
            cutmix=(0 <= self.cutmix < math.inf, from_0),
            prob=(0 <= self.prob <= 1, "a probability, 0 to 1"),
            switch_prob=(0 <= self.switch_prob <= 1, "a probability, 0 to 1"),
        )

    @property
    def active(self) -> bool:
        """Tell whether any batch is mixed."""
        return (self.mixup > 0 or self.cutmix > 0) and self.prob > 0

    def mixed(self, images: Tensor, labels: Tensor, num_classes: int, seeds: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """Mix one batch. timm mixes pairs, so the last image of an odd batch stays as it is.

        Args:
            images: [n, C, H, W], changed in place.
            labels: class numbers, int64 [n].
            num_classes: how many there are.
            seeds: the draws are a function of these alone.

        Returns:
            The images, and the labels as shares of the classes, float32 [n, num_classes].
        """
        from timm.data.mixup import Mixup

        shares = F.one_hot(labels, num_classes).float()
        even = len(images) // 2 * 2
        if even:
            mixup = Mixup(
                mixup_alpha=self.mixup,
                cutmix_alpha=self.cutmix,
                prob=self.prob,
                switch_prob=self.switch_prob,
                mode=self.mode,
                label_smoothing=0.0,  # the loss smooths
                num_classes=num_classes,
            )
            with _numpy_seeded(seeds):
                images[:even], shares[:even] = mixup(images[:even], labels[:even])
        return images, shares


@contextmanager
def _numpy_seeded(seeds: tuple[int, ...]) -> Iterator[None]:
    """Seed numpy's global stream, from which timm draws, and set it back afterwards."""
    before = np.random.get_state()
    np.random.seed(np.random.SeedSequence(seeds).generate_state(8))
    try:
        yield
    finally:
        np.random.set_state(before)
