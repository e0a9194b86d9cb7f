"""timm's training transform with our keys: the same images as from timm itself, and policies that can be wrong."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from pwfn.data import ImageFolder, TimmAugment
from pwfn.data.augment import posterize
from pwfn.data.transforms import transform_config
from pwfn.errors import InvalidValueError
from tests.support.images.data import CONFIG, steps_of

PHOTOGRAPH = Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8))
DEIT = TimmAugment(
    interpolation="bicubic", color_jitter=None, auto_augment="rand-m9-mstd0.5-inc1", re_prob=0.25, re_mode="pixel"
)


def seed(value: int) -> None:
    random.seed(value)
    np.random.seed(value)
    torch.manual_seed(value)


@pytest.mark.parametrize(
    ("augment", "options"),
    [
        (TimmAugment(), {}),
        (TimmAugment(color_jitter=None, hflip=0.0, vflip=1.0), {"color_jitter": None, "hflip": 0.0, "vflip": 1.0}),
        (TimmAugment(scale=(0.5, 0.9), ratio=(1.0, 1.0)), {"scale": (0.5, 0.9), "ratio": (1.0, 1.0)}),
        (TimmAugment(interpolation="random"), {"interpolation": "random"}),
        (
            DEIT,
            {
                "interpolation": "bicubic",
                "color_jitter": None,
                "auto_augment": "rand-m9-mstd0.5-inc1",
                "re_prob": 0.25,
                "re_mode": "pixel",
            },
        ),
        (TimmAugment(auto_augment="augmix-m5-w4-d2"), {"auto_augment": "augmix-m5-w4-d2"}),
        (TimmAugment(re_prob=1.0, re_mode="rand", re_count=3), {"re_prob": 1.0, "re_mode": "rand", "re_count": 3}),
    ],
    ids=lambda value: "" if isinstance(value, dict) else None,
)
def test_training_is_timms_own_with_the_same_options(augment: TimmAugment, options: dict[str, Any]) -> None:
    spec = ImageFolder(augment=augment)
    train, _ = steps_of(spec, CONFIG, 3)
    expected = timm.data.create_transform(**(transform_config(CONFIG, 3, spec.image_size) | options), is_training=True)
    for number in range(5):
        seed(number)
        drawn = train(PHOTOGRAPH)
        seed(number)
        assert torch.equal(drawn, expected(PHOTOGRAPH))


@pytest.mark.parametrize("policy", ["rand-m9-mstd0.5-inc1", "rand-m10-n3-inc1", "v0", "v0-mstd0.5", "original", "3a"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_policy_never_ends_a_run(policy: str, mode: str) -> None:
    """timm also draws 0 bits for posterize, which Pillow 13 refuses: with m10 in one of fifteen images."""
    channels = len(mode)
    train, _ = steps_of(ImageFolder(augment=replace(DEIT, auto_augment=policy), image_size=8), CONFIG, channels)
    seed(0)
    small = PHOTOGRAPH.resize((8, 8)).convert(mode)
    for _ in range(600):
        assert train(small).shape == (channels, 8, 8)


def test_posterize_to_no_bits_is_black() -> None:
    for image in (PHOTOGRAPH, PHOTOGRAPH.convert("L")):
        assert not np.asarray(posterize(image, 0)).any()
        for bits in (1, 4, 8):
            expected = np.asarray(image) & (256 - 2 ** (8 - bits))
            assert np.array_equal(np.asarray(posterize(image, bits)), expected)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"scale": (0.0, 1.0)}, "scale = (0.0, 1.0): must be two numbers, above 0 to 1, the smaller one first"),
        ({"scale": (0.5, 1.1)}, "scale = (0.5, 1.1): must be two numbers"),
        ({"ratio": (2.0, 1.0)}, "ratio = (2.0, 1.0): must be two numbers above 0"),
        ({"hflip": 1.5}, "hflip = 1.5: must be a probability, 0 to 1"),
        ({"vflip": float("nan")}, "vflip = nan: must be a probability, 0 to 1"),
        ({"color_jitter": -0.1}, "color_jitter = -0.1: must be a number from 0, or null"),
        ({"re_prob": -1.0}, "re_prob = -1.0: must be a probability, 0 to 1"),
        ({"re_count": 0}, "re_count = 0: must be an integer from 1"),
        *(
            ({"auto_augment": policy}, f"auto_augment = {policy!r}: must be null or a policy of timm, such as rand-m9")
            for policy in ("", "random", "rand-mten", "rand-x9", "rand-m9-", "augmix-q1", "v1", "original-m9")
        ),
    ],
)
def test_wrong_values_are_refused(options: dict[str, Any], line: str) -> None:
    with pytest.raises(InvalidValueError) as error:
        TimmAugment(**options)
    assert str(error.value).startswith(line)
