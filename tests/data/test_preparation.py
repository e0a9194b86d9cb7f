"""What takes the place of a model's own preparation of images, and the line that says what a run has found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch

from pwfn.data import Digits, ImageFolder, Synthetic, TimmData
from pwfn.data.module import ImageDataModule
from pwfn.errors import InvalidValueError
from tests.support.images.data import CONFIG, write_folder


def test_given_values_take_the_place_of_the_model_s_own(tmp_path: Path) -> None:
    write_folder(tmp_path)
    given = {"crop_pct": 0.5, "mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6), "interpolation": "bicubic"}
    spec = ImageFolder(root=str(tmp_path), image_size=16, **given)  # type: ignore[arg-type]
    data = ImageDataModule(spec, CONFIG, 0)
    expected = timm.data.create_transform(**CONFIG | given | {"input_size": (3, 16, 16)}, is_training=False)
    found, _ = next(iter(data.test_dataloader()))
    image, _ = spec.load().test[3]  # type: ignore[index]
    assert torch.equal(found[3], expected(image))
    assert spec.image_config(CONFIG) == CONFIG | given | {"input_size": (3, 16, 16)}
    assert ImageFolder(image_size=16).image_config(CONFIG)["crop_pct"] == 1.0
    assert ImageFolder().image_config(CONFIG) == CONFIG


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({"crop_pct": 0.0}, "crop_pct = 0.0: must be a number above 0, at most 1, or null"),
        ({"crop_pct": 1.1}, "crop_pct = 1.1: must be a number above 0, at most 1, or null"),
        ({"mean": (0.5, 0.5, 0.5)}, "mean = (0.5, 0.5, 0.5): must be a number for each color channel of the network"),
        ({"std": (0.0,)}, "std = (0.0,): must be a number above 0 for each color channel of the network, or null"),
        ({"mean": (float("nan"),)}, "mean = (nan,): must be a number for each color channel"),
    ],
)
def test_values_out_of_range_are_refused(changed: dict[str, Any], line: str) -> None:
    with pytest.raises(InvalidValueError) as error:
        Digits(**changed)
    assert line in str(error.value)


def test_a_line_says_what_was_found(tmp_path: Path) -> None:
    write_folder(tmp_path, classes=("ant", "bee", "cat"))
    spec = ImageFolder(root=str(tmp_path), image_size=96, val_fraction=0.5)
    assert ImageDataModule(spec, CONFIG, 0).sentence() == (
        "3 training, 3 validation, 6 test images (val/), 3 classes, 96 x 96, crop 1, bilinear, "
        "mean 0.4 0.5 0.6, std 0.2 0.25 0.3"
    )
    gray = ImageDataModule(Synthetic(train_size=1200, test_size=30), CONFIG, 0).sentence()
    assert gray.startswith(
        "1,200 training, 30 test images, 10 classes, 64 x 64, crop 0.875, bilinear, mean 0.5, std 0.25"
    )


def test_timm_s_folders_know_the_names_of_their_classes(tmp_path: Path) -> None:
    write_folder(tmp_path, classes=("class10", "class2"))
    spec = TimmData(name="folder", root=str(tmp_path), num_classes=2, test_split="val")
    assert (spec.class_names, spec.test_class_names) == (("class2", "class10"),) * 2
    assert spec.test_place == "val"
