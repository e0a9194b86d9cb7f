"""Sets that timm opens by name, on disk: what is read is what lies there, and what cannot be read is named."""

from __future__ import annotations

import gzip
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pwfn.data import DataError
from pwfn.data.images import ImageSet
from pwfn.data.module import ImageDataModule
from tests.support.images.data import CONFIG, message, timm_spec, write_folder


def as_tars(root: Path) -> None:
    """train/ and val/ become train.tar and val.tar."""
    for split in ("train", "val"):
        with tarfile.open(root / f"{split}.tar", "w") as tar:
            tar.add(root / split, arcname=".")
        (root / split).rename(root / f"unpacked_{split}")


@pytest.mark.parametrize(("name", "packed"), [("folder", False), ("folder", True), ("torch/image_folder", False)])
def test_folders_and_tar_files_are_read_split_by_split(tmp_path: Path, name: str, packed: bool) -> None:
    write_folder(tmp_path)
    Image.new("RGB", (20, 10), (9, 9, 9)).save(tmp_path / "val" / "dog" / "more.png")
    if packed:
        as_tars(tmp_path)
    train, test = timm_spec(tmp_path, name=name).load()
    assert isinstance(train, ImageSet)
    assert isinstance(test, ImageSet)
    assert train.labels.tolist() == [0, 0, 1, 1]
    assert test.labels.tolist() == [0, 0, 1, 1, 1]
    for index, (label, shade) in enumerate([(0, 0), (0, 100), (1, 0), (1, 100)]):
        image, found = train[index]
        assert (image.getpixel((0, 0)), found) == ((label * 100, shade, 7), label)
    assert test[4][0].getpixel((0, 0)) == (9, 9, 9)
    picked = test.pick(np.array([4, 0])).pick(np.array([0]))
    assert (len(picked), picked[0][0].getpixel((0, 0)), picked[0][1]) == (1, (9, 9, 9), 1)


@pytest.mark.parametrize("packed", [False, True])
def test_workers_read_what_the_process_itself_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packed: bool
) -> None:
    """A tar file that is open already when workers are started is one position in the file for all of them."""
    monkeypatch.setattr("pwfn.data.module.CACHE_BYTES", 0)
    write_folder(tmp_path, classes=("a", "b", "c"))
    if packed:
        as_tars(tmp_path)

    def pixels(workers: int) -> list[bytes]:
        one = timm_spec(tmp_path, num_classes=3, num_workers=workers, batch_size=1, image_size=8)
        data = ImageDataModule(one, CONFIG, 0)
        data.setup()
        assert data.partition is not None
        assert data.partition.train[0]
        return [images.numpy().tobytes() for images, _ in data.train_dataloader()]

    assert pixels(0) == pixels(2)
    assert len(set(pixels(0))) == 6


@pytest.mark.parametrize("packed", [False, True])
def test_an_unreadable_image_is_named_and_not_passed_over(tmp_path: Path, packed: bool) -> None:
    """timm itself would take the next one, with a line in a log."""
    write_folder(tmp_path)
    (tmp_path / "train" / "cat" / "1.png").write_bytes(b"damaged")
    if packed:
        as_tars(tmp_path)
    for name in ("folder",) if packed else ("folder", "torch/image_folder"):
        train = timm_spec(tmp_path, name=name).load().train
        assert isinstance(train, ImageSet)
        with pytest.raises(DataError) as error:
            train[1]
        assert "cat/1.png: not a readable image (" in message(error)


def test_torchvisions_sets_are_read(tmp_path: Path) -> None:
    raw = tmp_path / "KMNIST" / "raw"
    raw.mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (12, 28, 28), dtype=np.uint8)
    for prefix in ("train", "t10k"):
        labels = (np.arange(12) % 10).astype(np.uint8)
        for name, header, content in (
            ("images-idx3", struct.pack(">4I", 0x803, 12, 28, 28), pixels),
            ("labels-idx1", struct.pack(">2I", 0x801, 12), labels),
        ):
            (raw / f"{prefix}-{name}-ubyte").write_bytes(header + content.tobytes())
            (raw / f"{prefix}-{name}-ubyte.gz").write_bytes(gzip.compress(header + content.tobytes()))
    train, _ = timm_spec(tmp_path, name="torch/kmnist", num_classes=10, channels=1).load()
    assert isinstance(train, ImageSet)
    assert train.labels.tolist() == [*range(10), 0, 1]
    assert np.array_equal(np.asarray(train[3][0]), pixels[3])
    with pytest.raises(DataError) as error:
        timm_spec(tmp_path, name="torch/kmnist").load()
    assert message(error).startswith("torch/kmnist train: has the label 9, data.num_classes = 2 allows 0 to 1")


def turned_image(path: Path) -> None:
    """Two columns, red and blue, stored with the order to turn them by 90 degrees."""
    image = Image.new("RGB", (2, 1), (255, 0, 0))
    image.putpixel((1, 0), (0, 0, 255))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(path, exif=exif)


@pytest.mark.parametrize(("name", "packed"), [("folder", False), ("folder", True), ("torch/image_folder", False)])
def test_images_are_turned_if_they_are_to_be(tmp_path: Path, name: str, packed: bool) -> None:
    write_folder(tmp_path)
    turned_image(tmp_path / "train" / "cat" / "0.png")
    if packed:
        as_tars(tmp_path)
    for exif, size in ((False, (2, 1)), (True, (1, 2))):
        train = timm_spec(tmp_path, name=name, exif=exif).load().train
        assert isinstance(train, ImageSet)
        assert train.pick(np.array([0]))[0][0].size == size


@pytest.mark.parametrize("name", ["folder", "torch/image_folder"])
def test_every_file_is_looked_at_before_anything_trains(tmp_path: Path, name: str) -> None:
    write_folder(tmp_path)
    turned_image(tmp_path / "train" / "dog" / "0.png")
    bad = [tmp_path / "train" / "cat" / "1.png", tmp_path / "val" / "dog" / "0.png"]
    for path in bad:
        path.write_bytes(b"damaged")
    timm_spec(tmp_path, name=name).check_files(tmp_path / "cache")
    with pytest.raises(DataError) as error:
        timm_spec(tmp_path, name=name, check=True).check_files(tmp_path / "cache")
    line = message(error)
    assert line.startswith(f"{tmp_path}: 2 of 8 images cannot be read (data.check=skip leaves them out): {bad[0]}: ")
    assert f"; {bad[1]}: " in line

    left = timm_spec(tmp_path, name=name, check="skip")
    left.check_files(tmp_path / "cache")
    train, test = left.load()
    assert (train.labels.tolist(), test.labels.tolist()) == ([0, 1, 1], [0, 0, 1])  # type: ignore[union-attr]
    assert left.remarks() == [
        f"{name} train: 1 images cannot be read and are left out (data.check=skip)",
        f"{name} val: 1 images cannot be read and are left out (data.check=skip)",
        "1 images are stored turned and stay so, as with timm; data.exif=true turns them",
    ]
    assert timm_spec(tmp_path, name=name, check="skip").load_test().labels.tolist() == [0, 0, 1]  # type: ignore[union-attr]
    (tmp_path / "train" / "cat" / "0.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"train: no image of class 0 \(counted from 0\) can be read"):
        timm_spec(tmp_path, name=name, check="skip").load()


def test_images_of_a_tar_file_are_not_looked_at(tmp_path: Path) -> None:
    write_folder(tmp_path)
    as_tars(tmp_path)
    with pytest.raises(DataError) as error:
        timm_spec(tmp_path, check=True).check_files(tmp_path / "cache")
    assert message(error) == "folder train: data.check must be false: its images are in a tar file"


def test_levels_of_torchvisions_image_folder_are_kept(tmp_path: Path) -> None:
    write_folder(tmp_path)
    levels = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    Image.fromarray(levels).save(tmp_path / "train" / "cat" / "0.png")
    train = timm_spec(tmp_path, name="torch/image_folder").load().train
    assert isinstance(train, ImageSet)
    assert len(np.unique(train[0][0])) == 256
