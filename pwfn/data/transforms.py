"""From a PIL image to the tensor a network is given, as the network's own timm data config says."""

from __future__ import annotations

from collections.abc import Callable
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
    """Gray (`L`) or color (`RGB`), whatever the file holds. A class, because workers must be able to pickle it."""

    mode: str

    @classmethod
    def of(cls, config: Config) -> ToMode:
        return cls("L" if config["input_size"][0] == 1 else "RGB")

    def __call__(self, image: Image) -> Image:
        return image if image.mode == self.mode else image.convert(self.mode)


def build_transforms(spec: ImageData, data_config: Config, channels: int) -> tuple[Steps, Steps]:
    """The (training, evaluation) transforms for a network that takes `channels` (1 or 3) color channels.

    `data_config` is what `timm.data.resolve_data_config({}, model=model)` returned. Unless `spec` chooses another size
    or `channels` differ from the model's, evaluation is timm's own for the model's tag, bit for bit. Validation images
    take the evaluation transform.
    """
    from timm.data.transforms_factory import create_transform
    from torchvision import transforms

    config = transform_config(spec, data_config, channels)
    fixed = transforms.Compose([ToMode.of(config), create_transform(**config, is_training=False)])
    evaluation = Steps(fixed, None)
    return spec.augment.training(config, evaluation), evaluation


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
    return config
