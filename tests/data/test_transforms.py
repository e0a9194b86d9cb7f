"""From an image to a tensor: evaluation is timm's own, training is random."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from pwfn.data import Augment, Crop, CropFlip, ImageFolder, NoAugment, TimmAugment
from tests.support.images.data import CONFIG, TINY, steps_of

AUGMENTS = [NoAugment(), Crop(), CropFlip(), TimmAugment()]


def test_evaluation_keeps_the_aspect_and_follows_the_models_config() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (90, 146, 3), dtype=np.uint8)
    _, evaluate = steps_of(ImageFolder(), CONFIG, 3)
    # 64 / 0.875 = 73.1 pixels for the short side; then the central 64 x 64 and the normalization
    resized = Image.fromarray(pixels).resize((int(73 * 146 / 90), 73), Image.Resampling.BILINEAR)
    left, top = round((resized.width - 64) / 2), round((73 - 64) / 2)
    cropped = np.asarray(resized.crop((left, top, left + 64, top + 64)), dtype=np.float32) / 255
    expected = torch.from_numpy(
        (cropped - np.array(CONFIG["mean"], np.float32)) / np.array(CONFIG["std"], np.float32)
    ).permute(2, 0, 1)
    torch.testing.assert_close(evaluate(Image.fromarray(pixels)), expected)


def test_a_chosen_size_replaces_the_models_and_crops_nothing() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16), dtype=np.uint8)
    _, evaluate = steps_of(TINY, CONFIG, 1)
    expected = (torch.from_numpy(pixels)[None] / 255 - 0.5) / 0.25  # the averages over the channels
    torch.testing.assert_close(evaluate(Image.fromarray(pixels)), expected)


def test_images_are_converted_to_the_networks_channels() -> None:
    gray = Image.new("L", (16, 16), 100)
    _, color = steps_of(TINY, CONFIG, 3)
    expected = (torch.full((3,), 100 / 255) - torch.tensor([0.4, 0.5, 0.6])) / torch.tensor([0.2, 0.25, 0.3])
    torch.testing.assert_close(color(gray)[:, 5, 5], expected)
    _, single = steps_of(TINY, CONFIG, 1)
    assert torch.equal(single(Image.merge("RGB", [gray] * 3)), single(gray))
    assert color(Image.new("RGBA", (16, 16))).shape == (3, 16, 16)


@pytest.mark.parametrize("augment", AUGMENTS, ids=lambda augment: type(augment).__name__)
@pytest.mark.parametrize("channels", [1, 3])
def test_augmentation_is_random_in_training_only(augment: Augment, channels: int) -> None:
    spec = replace(TINY, augment=augment)
    train, evaluate = steps_of(spec, CONFIG, channels)
    image = spec.load().train[0][0]
    drawn = [train(image) for _ in range(8)]
    for tensor in (*drawn, evaluate(image)):
        assert (tensor.shape, tensor.dtype) == ((channels, 16, 16), torch.float32)
    assert torch.equal(evaluate(image), evaluate(image))
    assert all(torch.equal(tensor, evaluate(image)) for tensor in drawn) == isinstance(augment, NoAugment)


def test_crop_shifts_by_at_most_an_eighth() -> None:
    train, evaluate = steps_of(replace(TINY, augment=Crop()), CONFIG, 1)
    image = TINY.load().train[0][0]
    padded = torch.nn.functional.pad(evaluate(image), (2, 2, 2, 2), mode="replicate")
    allowed = [padded[:, y : y + 16, x : x + 16] for y in range(5) for x in range(5)]
    drawn = [train(image) for _ in range(20)]
    assert all(any(torch.equal(one, shifted) for shifted in allowed) for one in drawn)


# The paper's models, and what other tags do: squash to a square, keep all of the image between borders, 0.95 and 1.0.
TAGS = [
    "resnet18.tv_in1k",
    "resnet34.tv_in1k",
    "resnet50.tv_in1k",
    "densenet161.tv_in1k",
    "deit_small_patch16_224.fb_in1k",
    "deit_tiny_patch16_224.fb_in1k",
    "resnet18.a1_in1k",
    "dm_nfnet_f0.dm_in1k",
    "vit_base_patch16_clip_384.openai_ft_in1k",
    "eva02_large_patch14_448.mim_in22k_ft_in22k_in1k",
    "coatnet_rmlp_2_rw_384.sw_in12k_ft_in1k",
    "efficientnet_b5.sw_in12k_ft_in1k",
    "deepseek_vit_412m.deepseek_v4_1_flash",
]


def photograph(width: int, height: int, mode: str = "RGB") -> Image.Image:
    """Smooth colors under noise: edges and gradients, so that resampling and rounding show."""
    rng = np.random.default_rng([width, height])
    coarse = Image.fromarray(rng.integers(0, 256, (9, 7, 3), dtype=np.uint8)).resize((width, height))
    noisy = np.asarray(coarse).astype(int) + rng.integers(-40, 41, (height, width, 3))
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).convert(mode)


@pytest.mark.skipif(not timm.is_model_pretrained(TAGS[-1]), reason="this timm has no tag with borders")
def test_evaluation_is_timms_own_for_each_tag_bit_for_bit() -> None:
    images = [
        photograph(500, 375),
        photograph(333, 500),
        photograph(1024, 256),
        photograph(90, 613),
        photograph(64, 64),
    ]
    modes = set()
    for tag in TAGS:
        config = timm.data.resolve_data_config({}, pretrained_cfg=timm.get_pretrained_cfg(tag).to_dict())
        modes.add((config["crop_mode"], config["interpolation"], config["crop_pct"]))
        expected = timm.data.create_transform(**config, is_training=False)
        _, evaluate = steps_of(ImageFolder(), config, 3)
        for image in images:
            assert torch.equal(evaluate(image), expected(image)), (tag, image.size)
        assert torch.equal(evaluate(photograph(100, 70, "L")), expected(photograph(100, 70, "L").convert("RGB")))
    assert {mode for mode, _, _ in modes} == {"center", "squash", "border"}
    assert len(modes) >= 6


def test_the_data_config_of_a_built_network_is_that_of_its_tag() -> None:
    from pwfn.models.timm_model import ModelSpec, data_config

    network = ModelSpec("test_resnet.r160_in1k").build(num_classes=7, in_chans=3)
    cfg = timm.get_pretrained_cfg("test_resnet.r160_in1k").to_dict()
    assert data_config(network) == timm.data.resolve_data_config({}, pretrained_cfg=cfg)
