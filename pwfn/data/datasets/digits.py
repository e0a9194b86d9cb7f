"""Read scikit-learn's handwritten digits: real images that need no download."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from typing_extensions import override

from pwfn.data.images import ArrayImages, stratified_split
from pwfn.data.spec import ImageData, Splits

IMAGES = 1797
TEST_SHARE = 0.2


@dataclass(frozen=True, kw_only=True)
class Digits(ImageData):
    """Read scikit-learn's 1,797 gray images of 8 x 8 pixels.

    scikit-learn names no test images, so 359 are chosen with `split_seed`.
    """

    channels: ClassVar[int] = 1
    num_classes: ClassVar[int] = 10
    class_names: ClassVar[tuple[str, ...]] = tuple("0123456789")

    @property
    @override
    def known_images(self) -> int:
        return IMAGES - round(TEST_SHARE * IMAGES)

    @override
    def load(self) -> Splits:
        from sklearn.datasets import load_digits

        digits = load_digits()
        # the pixels are whole numbers from 0 to 16
        images = ArrayImages(np.round(digits.images * (255 / 16)).astype(np.uint8), digits.target)
        test, train = stratified_split(images.labels, round(TEST_SHARE * len(images)), self.split_seed)
        return Splits(images.pick(train), images.pick(test))
