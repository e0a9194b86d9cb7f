"""A run on a folder of one's own: what it says of the images, and the split it keeps for its evaluation."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf
from PIL import Image

from pwfn.checkpoint import saved_config
from pwfn.config import build
from pwfn.data import DataError, ImageFolder
from pwfn.evaluation.run_subject import rebuilt_settings
from pwfn.records.files import CHECKED, CLASS_ORDER
from pwfn.run.settings import TrainSettings
from pwfn.run.start import run
from tests.support.evaluation import measured
from tests.support.project import Compose

LEVELS = {"class1": 30, "class2": 130, "class10": 230}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Ten gray images of each of three classes, in one folder."""
    rng = np.random.default_rng(0)
    for name, level in LEVELS.items():
        (tmp_path / "photos" / name).mkdir(parents=True)
        for index in range(10):
            pixels = np.clip(level + rng.normal(0, 5, (16, 16)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{index}.png")
    return tmp_path / "photos"


OVERRIDES = [
    "experiment=smoke",
    "data=image_folder",
    "data.channels=1",
    "data.image_size=32",
    "data.num_workers=0",
    "data.batch_size=6",
    "data.split=[0.6,0.2,0.2]",
    "logger=none",
    "report=false",
    "pretrain.epochs=1",
    "schedule.fractions=[1.0]",
]


@pytest.mark.slow
def test_a_run_says_what_it_found_and_is_evaluated_on_the_split_it_kept(
    photos: Path, tmp_path: Path, composed: Compose, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "class1" / "notes.txt").write_text("x")
    (photos / "class2" / "empty.png").touch()
    cfg = composed(*OVERRIDES, f"data.root={photos}", "data.check=skip")
    folder = tmp_path / "outputs" / "run"
    finished = run(build.load(TrainSettings, cfg), OmegaConf.to_container(cfg, resolve=True), folder, name="test")
    told = capsys.readouterr().out
    assert "18 training, 6 validation, 6 test images (chosen by data.split), 3 classes, 32 x 32, crop 1, " in told
    assert f"warning: {photos}: 1 .txt passed over: not the endings of images" in told
    assert f"warning: {photos}: 1 images cannot be read and are left out (data.check=skip)" in told
    assert "warning: the classes are numbered class1, class2, class10 (data.class_order=natural)" in told
    assert " %, 6 test images), loss " in told
    assert (folder.parent / CHECKED).is_file()
    for index in range(10, 20):  # what is added later was not split
        Image.new("L", (16, 16)).save(photos / "class10" / f"{index}.png")
    assert measured(run=str(folder)).at_mean["clustered"] == finished.records[-1].clustered


def test_a_broken_image_ends_a_run_before_anything_is_built(photos: Path, tmp_path: Path, composed: Compose) -> None:
    broken = photos / "class2" / "empty.png"
    broken.touch()
    cfg = composed(*OVERRIDES, f"data.root={photos}")
    with pytest.raises(DataError, match=f"1 of 31 images cannot be read .*: {broken}: not a readable image"):
        run(build.load(TrainSettings, cfg), OmegaConf.to_container(cfg, resolve=True), tmp_path / "a" / "b", name="t")
    assert not os.path.exists(tmp_path / "a" / "b")


def test_runs_of_earlier_versions_keep_their_order_of_the_classes(tmp_path: Path, composed: Compose) -> None:
    config = OmegaConf.to_container(composed("experiment=smoke", "data=image_folder"), resolve=True)
    assert isinstance(config, dict)
    assert config["data"]["class_order"] == "natural"
    for key in ("class_order", "split", "exif", "check", "crop_pct", "mean", "std", "interpolation"):
        del config["data"][key]
    saved_config.write_config(tmp_path, config)
    data = rebuilt_settings(tmp_path)[0].data
    assert isinstance(data, ImageFolder)
    assert (data.class_order, data.check) == ("sorted", False)


@pytest.mark.slow
def test_the_order_that_a_file_gives_the_classes_is_kept(photos: Path, tmp_path: Path, composed: Compose) -> None:
    order = tmp_path / "order.txt"
    order.write_text("class2\n\nclass10\nclass1\n")
    cfg = composed(*OVERRIDES, f"data.root={photos}", f"data.class_order={order}")
    folder = tmp_path / "outputs" / "run"
    finished = run(build.load(TrainSettings, cfg), OmegaConf.to_container(cfg, resolve=True), folder, name="test")
    assert (folder / CLASS_ORDER).read_text() == "class2\nclass10\nclass1\n"
    order.write_text("class1\nclass2\nclass10\n")  # another one since
    assert measured(run=str(folder)).at_mean["clustered"] == finished.records[-1].clustered
    order.unlink()
    assert measured(run=str(folder)).at_mean["clustered"] == finished.records[-1].clustered
    saved, _ = rebuilt_settings(folder)
    assert saved.data.class_names == ("class2", "class10", "class1")
    assert saved_config.read_config(folder).data.class_order == str(folder / CLASS_ORDER)
