"""Make a PIL image the tensor that a network is given, by the network's own timm data config."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.Image import Image

Transform = Callable[[Any], Any]
Config = dict[str, Any]


@dataclass(frozen=True)
class Steps:
    """Take fixed steps, whose tensor may be kept, then random ones: PIL image to float32 [C, H, W].

    `fixed` is None when the randomness begins with the PIL image, so that nothing can be kept.
    """

    fixed: Transform | None
    random: Transform | None

    def __call__(self, image: Image) -> Any:
        """Return the tensor of an image."""
        result: Any = image
        for step in (self.fixed, self.random):
            if step is not None:
                result = step(result)
        return result


@dataclass(frozen=True)
class ToMode:
    """Convert to gray (`L`) or color (`RGB`). A class, because workers must be able to pickle it."""

    mode: str

    @classmethod
    def of(cls, config: Config) -> ToMode:
        """Choose the mode for the number of channels of `config["input_size"]`."""
        return cls("L" if config["input_size"][0] == 1 else "RGB")

    def __call__(self, image: Image) -> Image:
        """Return the image in the mode of the network."""
        return image if image.mode == self.mode else image.convert(self.mode)


def transform_config(
    data_config: Config, channels: int, image_size: int | None, chosen: Mapping[str, Any] | None = None
) -> Config:
    """Adapt a model's data config to the images it is given, for `timm.data.create_transform`.

    Args:
        data_config: `timm.data.resolve_data_config({}, model=model)`.
        channels: color channels of the network's input, 1 or 3. Where the config has another number, each of mean and
            std becomes the average over its channels.
        image_size: side of the square input in pixels, or None for the model's own size and crop.
        chosen: crop_pct, mean, std and interpolation that take the place of the model's own.

    Returns:
        A new config.
    """
    config = dict(data_config)
    height, width = config["input_size"][-2:]
    if image_size is not None:
        height = width = image_size
        # The share that is cropped away belongs to the size the model was made for: a chosen size shows all it can.
        config["crop_pct"] = 1.0
    config |= chosen or {}
    config["input_size"] = (channels, height, width)
    for name in ("mean", "std"):
        values = tuple(config[name])
        if len(values) != channels:
            config[name] = (sum(values) / len(values),) * channels
    return config


def evaluation_steps(config: Config) -> Steps:
    """Build the transform of validation and test images: timm's own for this config, bit for bit."""
    from timm.data.transforms_factory import create_transform
    from torchvision import transforms

    return Steps(transforms.Compose([ToMode.of(config), create_transform(**config, is_training=False)]), None)
