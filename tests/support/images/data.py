"""What the tests of the data share: a tiny set, a data config, and a folder of images on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pwfn.data import ImageData, Synthetic, TimmData
from pwfn.data.augment import build_transforms
from pwfn.data.transforms import Config, Steps, transform_config

# What timm.data.resolve_data_config returns for an ImageNet model.
CONFIG: dict[str, Any] = {
    "input_size": (3, 64, 64),
    "interpolation": "bilinear",
    "mean": (0.4, 0.5, 0.6),
    "std": (0.2, 0.25, 0.3),
    "crop_pct": 0.875,
    "crop_mode": "center",
}
TINY = Synthetic(image_size=16, pixels=16, train_size=60, test_size=23, batch_size=16, eval_batch_size=8)


def steps_of(spec: ImageData, data_config: Config, channels: int) -> tuple[Steps, Steps]:
    """The training and the evaluation transform of a specification."""
    return build_transforms(spec.augment, transform_config(data_config, channels, spec.image_size))


def message(error: pytest.ExceptionInfo[BaseException]) -> str:
    """The text of an error, which must be one line."""
    text = str(error.value)
    assert "\n" not in text
    return text


def write_folder(root: Path, *, test: str = "val", classes: tuple[str, ...] = ("cat", "dog")) -> None:
    for split in ("train", test):
        for label, name in enumerate(classes):
            (root / split / name).mkdir(parents=True)
            for index in range(2):
                Image.new("RGB", (20, 10), (label * 100, index * 100, 7)).save(root / split / name / f"{index}.png")


def timm_spec(folder: Path, /, **changed: Any) -> TimmData:
    return TimmData(**{"name": "folder", "root": str(folder), "num_classes": 2, "test_split": "val"} | changed)
