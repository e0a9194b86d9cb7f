"""Sizes of images that a model cannot be given are known before a run, and the line about them says what works."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch

from pwfn.data import ImageData, Synthetic
from pwfn.models.input_size import size_fault
from pwfn.models.timm_model import ModelError, ModelSpec
from tests.support.networks.families import FAMILIES

DATA = Synthetic(channels=3, num_classes=5, image_size=32)


def takes(name: str, size: int) -> bool:
    """Ask a real network with real images."""
    network = timm.create_model(name, num_classes=5).eval()
    try:
        with torch.no_grad():
            network(torch.zeros(1, 3, size, size))
    except (RuntimeError, AssertionError, ValueError):
        return False
    return True


@pytest.mark.slow
@pytest.mark.parametrize("size", [32, 75, 160, 224])
@pytest.mark.parametrize(
    "name",
    [
        "test_resnet",
        "test_vit",
        "test_vit4",
        *filter(timm.is_model, ("test_vit_relpos", "test_maxvit")),  # timm 1.0.26 has neither
        "swin_tiny_patch4_window7_224",
        "levit_128s",
        "inception_v3",
    ],
)
def test_the_verdict_is_that_of_a_real_network(name: str, size: int) -> None:
    assert (size_fault(ModelSpec(name), replace(DATA, image_size=size)) is None) == takes(name, size)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(FAMILIES.values()))
def test_every_family_is_known(name: str) -> None:
    spec = ModelSpec(name)
    assert (size_fault(spec, DATA) is None) == takes(name, 32)
    assert size_fault(spec, replace(DATA, image_size=timm.get_pretrained_cfg(name).to_dict()["input_size"][-1])) is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "own", "adapts"),
    [
        ("vit_tiny_patch16_224", 224, True),
        ("swin_tiny_patch4_window7_224", 224, True),
        ("levit_128s", 224, True),
        ("inception_v3", 299, False),
    ],
)
def test_the_line_says_what_works(name: str, own: int, adapts: bool) -> None:
    spec = ModelSpec(name)
    line = size_fault(spec, DATA)
    assert line is not None
    assert "\n" not in line
    assert line.startswith(
        f"data.image_size = 32: {name} takes {own} x {own} pixels: data.image_size=null gives it these"
    )
    assert ("model.args.img_size=32" in line) == adapts
    assert size_fault(spec, replace(DATA, image_size=None)) is None
    assert size_fault(spec, replace(DATA, image_size=own)) is None
    if adapts:
        assert size_fault(replace(spec, args={"img_size": 32}), DATA) is None


def test_gray_images_and_random_streams_are_left_alone() -> None:
    gray: ImageData = replace(DATA, channels=1)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    assert size_fault(ModelSpec("test_resnet"), gray) is None
    assert size_fault(ModelSpec("levit_128s"), gray) is not None
    assert torch.equal(torch.get_rng_state(), before)


def test_what_cannot_be_built_is_left_to_the_building() -> None:
    assert size_fault(ModelSpec("test_resnet", args={"nonsense": 1}), DATA) is None


def test_a_run_ends_before_it_begins(small_run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ModelError, match=re.escape("data.image_size = 32: levit_128s takes 224 x 224 pixels")):
        small_run(tmp_path, "model=timm", "model.name=levit_128s")
    assert list(tmp_path.iterdir()) == []
