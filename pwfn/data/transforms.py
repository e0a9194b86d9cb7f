"""From a PIL image to the tensor a network is given, as the network's own timm data config says."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.Image import Image

    from pwfn.data.spec import ImageData

Transform = Callable[[Any], Any]
Config = dict[str, Any]


@dataclass(frozen=True)
class Steps:
    """PIL image -> float32 [C, H, W]: a fixed part, whose tensor may be kept in memory, then a random part.

    `fixed` is None when the randomness begins with the PIL image, so that nothing can be kept.
    """

    fixed: Transform | None
    random: Transform | None

    def __call__(self, image: Image) -> Any:
        result: Any = image
        for step in (self.fixed, self.random):
            if step is not None:
                result = step(result)
        return result


@dataclass(frozen=True)
class ToMode:
    """Grey (`L`) or colour (`RGB`), whatever the file holds. A class, because workers must be able to pickle it."""

    mode: str

    def __call__(self, image: Image) -> Image:
        return image if image.mode == self.mode else image.convert(self.mode)


def _none(config: Config, evaluation: Steps) -> Steps:
    return evaluation


def _crop(config: Config, evaluation: Steps) -> Steps:
    from torchvision import transforms

    height, width = config["input_size"][-2:]
    # An eighth is the usual 4 pixels of 32. The edge is repeated because a constant would be a colour that grey
    # letters on black and photographs cannot share.
    crop = transforms.RandomCrop((height, width), padding=(width // 8, height // 8), padding_mode="edge")
    return Steps(evaluation.fixed, crop)


def _crop_flip(config: Config, evaluation: Steps) -> Steps:
    from torchvision import transforms

    cropped = _crop(config, evaluation)
    return Steps(cropped.fixed, transforms.Compose([cropped.random, transforms.RandomHorizontalFlip()]))


def _timm(config: Config, evaluation: Steps) -> Steps:
    from timm.data.transforms_factory import create_transform
    from torchvision import transforms

    return Steps(None, transforms.Compose([_mode(config), create_transform(**config, is_training=True)]))


# What each value of `augment` does to training images: (config, evaluation steps) -> training steps.
AUGMENTATIONS: Mapping[str, Callable[[Config, Steps], Steps]] = {
    "none": _none,
    "crop": _crop,
    "crop_flip": _crop_flip,
    "timm": _timm,
}


def build_transforms(spec: ImageData, data_config: Config, channels: int) -> tuple[Steps, Steps]:
    """The (training, evaluation) transforms for a network that takes `channels` (1 or 3) colour channels.

    `data_config` is what `timm.data.resolve_data_config({}, model=model)` returned. Validation images take the
    evaluation transform.
    """
    from timm.data.transforms_factory import create_transform
    from torchvision import transforms

    config = transform_config(spec, data_config, channels)
    fixed = transforms.Compose([_mode(config), create_transform(**config, is_training=False)])
    evaluation = Steps(fixed, None)
    return AUGMENTATIONS[spec.augment](config, evaluation), evaluation


def transform_config(spec: ImageData, data_config: Config, channels: int) -> Config:
    """The arguments for `timm.data.create_transform`: the model's own, with what `spec` and `channels` replace."""
    config = dict(data_config)
    height, width = config["input_size"][-2:]
    if spec.image_size is not None:
        height = width = spec.image_size
        # The share that is cropped away belongs to the size the model was made for: a chosen size shows all it can.
        config["crop_pct"] = 1.0
    config["input_size"] = (channels, height, width)
    for name in ("mean", "std"):
        values = tuple(config[name])
        if len(values) != channels:
            config[name] = (sum(values) / len(values),) * channels
    if config.get("crop_mode") == "squash":
        warnings.warn("the model's data config squashes images; the aspect is kept here (center crop)", stacklevel=2)
        config["crop_mode"] = "center"
    return config


def _mode(config: Config) -> ToMode:
    return ToMode("L" if config["input_size"][0] == 1 else "RGB")
