"""Augment single images in training, a class for each option of `conf/data/augment/`."""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from typing_extensions import override

from pwfn.data.transforms import Config, Steps, ToMode, evaluation_steps
from pwfn.errors import require

if TYPE_CHECKING:
    from PIL.Image import Image


class Augment(ABC):
    """Turn the steps that evaluate an image into those that train on it."""

    @property
    def erases(self) -> bool:
        """Tell whether a step comes after the normalization, so that no bytes can leave the transform."""
        return False

    @abstractmethod
    def training(self, config: Config, evaluation: Steps) -> Steps:
        """Build the training steps.

        Args:
            config: arguments of `timm.data.create_transform` for this network and data set.
            evaluation: the steps for the same config without augmentation.
        """


def build_transforms(augment: Augment, config: Config) -> tuple[Steps, Steps]:
    """Build the (training, evaluation) transforms for a config of `pwfn.data.transforms.transform_config`."""
    evaluation = evaluation_steps(config)
    return augment.training(config, evaluation), evaluation


@dataclass(frozen=True)
class NoAugment(Augment):
    """Let training see exactly what evaluation sees."""

    @override
    def training(self, config: Config, evaluation: Steps) -> Steps:
        return evaluation


@dataclass(frozen=True)
class Crop(Augment):
    """Shift by up to an eighth of the side in each direction, the usual 4 pixels of 32."""

    @override
    def training(self, config: Config, evaluation: Steps) -> Steps:
        from torchvision import transforms

        height, width = config["input_size"][-2:]
        # The edge is repeated: a constant would be a color that gray letters on black and photographs cannot share.
        crop = transforms.RandomCrop((height, width), padding=(width // 8, height // 8), padding_mode="edge")
        return Steps(evaluation.fixed, crop)


@dataclass(frozen=True)
class CropFlip(Augment):
    """Shift as `Crop` does, and mirror every second image."""

    @override
    def training(self, config: Config, evaluation: Steps) -> Steps:
        from torchvision import transforms

        crop = Crop().training(config, evaluation).random
        return Steps(evaluation.fixed, transforms.Compose([crop, transforms.RandomHorizontalFlip()]))


# The sections that timm reads. It passes over a section without a number, such as the misspelt `rand-mten`, in silence.
_NUMBER = r"\d+(\.\d+)?"
_POLICIES = (
    rf"rand(-(m\d+|n\d+|p{_NUMBER}|mstd{_NUMBER}|mmax\d+|inc[01]|tweights|t3aw?))*",
    rf"augmix(-(m\d+|w\d+|d\d+|a{_NUMBER}|b[01]|mstd{_NUMBER}))*",
    rf"(original|originalr|v0|v0r|3a)(-mstd{_NUMBER})?",
)


@dataclass(frozen=True, kw_only=True)
class TimmAugment(Augment):
    """Use timm's training transform; the fields are arguments of `timm.data.create_transform`.

    `interpolation` None is the model's own, `color_jitter` None is none. As in timm, color jitter is left out where
    `auto_augment` is given.

    Attributes:
        scale: smallest and largest share of the image's area that is cut out, above 0 to 1.
        ratio: smallest and largest ratio of its sides, above 0.
        interpolation: how it is resized.
        hflip: probability of mirroring left and right.
        vflip: probability of mirroring up and down.
        color_jitter: strength, from 0.
        auto_augment: a policy of timm, as rand-m9-mstd0.5-inc1.
        re_prob: probability of erasing random rectangles.
        re_mode: what they are filled with.
        re_count: the most rectangles, from 1.
    """

    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (0.75, 4 / 3)
    interpolation: Literal["bilinear", "bicubic", "random"] | None = None
    hflip: float = 0.5
    vflip: float = 0.0
    color_jitter: float | None = 0.4
    auto_augment: str | None = None
    re_prob: float = 0.0
    re_mode: Literal["const", "rand", "pixel"] = "const"
    re_count: int = 1

    def __post_init__(self) -> None:
        policy = self.auto_augment is None or any(re.fullmatch(p, self.auto_augment) for p in _POLICIES)
        probability = "a probability, 0 to 1"
        require(
            self,
            scale=(_rising(self.scale) and self.scale[1] <= 1, "two numbers, above 0 to 1, the smaller one first"),
            ratio=(_rising(self.ratio), "two numbers above 0, the smaller one first"),
            hflip=(0 <= self.hflip <= 1, probability),
            vflip=(0 <= self.vflip <= 1, probability),
            color_jitter=(self.color_jitter is None or 0 <= self.color_jitter < math.inf, "a number from 0, or null"),
            auto_augment=(
                policy,
                "null or a policy of timm, such as rand-m9-mstd0.5-inc1, augmix-m5-w4-d2, original, v0 or 3a",
            ),
            re_prob=(0 <= self.re_prob <= 1, probability),
            re_count=(self.re_count >= 1, "an integer from 1"),
        )

    @property
    @override
    def erases(self) -> bool:
        return self.re_prob > 0

    @override
    def training(self, config: Config, evaluation: Steps) -> Steps:
        from timm.data.transforms_factory import create_transform
        from torchvision import transforms

        options = {name: value for name, value in asdict(self).items() if value is not None or name == "color_jitter"}
        if self.auto_augment is not None:
            _let_posterize_take_every_bit()
        augmented = create_transform(**(config | options), is_training=True)
        return Steps(None, transforms.Compose([ToMode.of(config), augmented]))


def _rising(values: tuple[float, float]) -> bool:
    return len(values) == 2 and 0 < values[0] <= values[1]


def posterize(image: Image, bits_to_keep: int, **_: Any) -> Image:
    """Posterize as timm does, also with 0 bits (black), which Pillow refuses from version 13 on.

    Args:
        image: of 8 bits.
        bits_to_keep: of each channel, 0 to 8.
        **_: what timm passes besides.

    Returns:
        A new image.
    """
    from timm.data import auto_augment

    return auto_augment.posterize(image, bits_to_keep) if bits_to_keep else image.point(lambda _: 0)


def _let_posterize_take_every_bit() -> None:
    """Let timm's Posterize take 0 bits.

    One image in a thousand would end a run with rand-m9-mstd0.5-inc1, one in fifteen with m10.
    """
    from timm.data import auto_augment

    for name, operation in auto_augment.NAME_TO_OP.items():
        if operation is auto_augment.posterize:
            auto_augment.NAME_TO_OP[name] = posterize
