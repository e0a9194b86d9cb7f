"""Images in one folder per class: what is read, and what is said of a folder that is not as it should be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pwfn.data import DataError, ImageFolder, ImageNet
from pwfn.data.files.file_images import FileImages
from pwfn.data.loading.feed import Transformed
from pwfn.data.loading.samplers import EachOnce
from pwfn.data.module import ImageDataModule
from tests.support.images.data import CONFIG, message, write_folder


@pytest.mark.parametrize("test", ["val", "test"])
def test_image_folder_reads_classes_and_images(tmp_path: Path, test: str) -> None:
    write_folder(tmp_path, test=test)
    (tmp_path / "train" / "cat" / "notes.txt").write_text("no image")
    (tmp_path / "train" / ".cache").mkdir()
    spec = ImageFolder(root=str(tmp_path))
    assert (spec.num_classes, spec.class_names) == (2, ("cat", "dog"))
    splits = spec.load()
    for images in splits:
        assert images.labels.tolist() == [0, 0, 1, 1]
        image, label = images[3]
        assert (image.getpixel((0, 0)), label) == ((100, 100, 7), 1)
    picked = splits.train.pick(np.array([3, 0]))
    assert picked.labels.tolist() == [1, 0]
    assert picked[0][0].getpixel((0, 0)) == (100, 100, 7)


def test_image_folder_asks_which_folder_is_tested_on(tmp_path: Path) -> None:
    write_folder(tmp_path)
    (tmp_path / "val").rename(tmp_path / "rest")
    with pytest.raises(DataError) as error:
        ImageFolder(root=str(tmp_path)).load()
    assert message(error) == f"{tmp_path}: has none of the folders test, val, validation with test images"
    assert len(ImageFolder(root=str(tmp_path), test_folder="rest").load().test) == 4
    for name in ("test", "val"):
        (tmp_path / name).mkdir()
    with pytest.raises(DataError, match="has both test and val; say which is tested on"):
        ImageFolder(root=str(tmp_path)).load()


def test_a_folder_of_loose_images_is_refused_with_what_takes_it(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    with pytest.raises(DataError, match="images without a folder for each class: pwfn"):
        ImageFolder(root=str(tmp_path)).check_layout()


def test_image_folder_faults_are_named(tmp_path: Path) -> None:
    spec = ImageFolder(root=str(tmp_path))
    with pytest.raises(DataError) as error:
        _ = spec.num_classes
    assert message(error).startswith(f"{tmp_path}/train: no such folder; data.root is")
    (tmp_path / "train").mkdir()
    with pytest.raises(DataError, match="train: has no class folders"):
        _ = spec.class_names
    write_folder(tmp_path / "set")
    spec = ImageFolder(root=str(tmp_path / "set"))
    (tmp_path / "set" / "train" / "eel").mkdir()
    with pytest.raises(DataError) as error:
        spec.load()
    assert message(error) == f"{tmp_path}/set: train and val differ in their classes: only train has eel"
    (tmp_path / "set" / "val" / "eel").mkdir()
    with pytest.raises(DataError) as error:
        spec.load()
    assert message(error).startswith(f"{tmp_path}/set/train/eel: has no images (.jpg, .png and ")


def test_unreadable_images_are_named(tmp_path: Path) -> None:
    write_folder(tmp_path)
    noise = np.random.default_rng(0).integers(0, 256, (50, 50, 3), dtype=np.uint8)
    good = tmp_path / "train" / "cat" / "0.png"
    Image.fromarray(noise).save(good)
    whole = good.read_bytes()
    for content in (b"", b"not an image", whole[:2000], whole[:60] + b"\0" * 40 + whole[100:]):
        good.write_bytes(content)
        with pytest.raises(DataError) as error:
            ImageFolder(root=str(tmp_path)).load().train[0]
        assert message(error).startswith(f"{good}: not a readable image (")


@pytest.mark.parametrize("workers", [0, 2])
def test_an_unreadable_image_is_named_by_the_loader_too(tmp_path: Path, workers: int) -> None:
    """torch hands on an error of a worker as a new one, whose message is the whole traceback."""
    write_folder(tmp_path)
    bad = tmp_path / "val" / "dog" / "1.png"
    bad.write_bytes(b"not an image")
    data = ImageDataModule(ImageFolder(root=str(tmp_path), num_workers=workers), CONFIG, 0)
    data.setup()
    with pytest.raises(DataError) as error:
        # what is kept in memory is read by the process itself
        list(data._eval_loader(Transformed(data.partition.test, data.eval_steps), EachOnce(4), keep_workers=False))
    assert message(error) == f"{bad}: not a readable image (cannot identify image file '{bad}')"


def test_file_names_of_any_bytes_are_read(tmp_path: Path) -> None:
    names = [str(tmp_path / name) for name in ("ä ö.png", "sur\udce4rogate.png", "plain.png")]
    for name in names:
        Image.new("RGB", (3, 3)).save(name)
    images = FileImages(names, np.arange(3))
    assert [images[index][1] for index in range(3)] == [0, 1, 2]
    Path(names[1]).write_bytes(b"")
    with pytest.raises(DataError, match=r"rogate\.png: not a readable image"):
        images[1]


def test_imagenet_has_the_number_of_classes_it_should(tmp_path: Path) -> None:
    write_folder(tmp_path, classes=("ant", "bee", "cat"))
    spec = ImageNet(root=str(tmp_path), num_classes=3, test_folder="val")
    spec.check_layout()
    assert (spec.num_classes, spec.class_names) == (3, ("ant", "bee", "cat"))
    assert [len(images) for images in spec.load()] == [6, 6]
    wrong = ImageNet(root=str(tmp_path))
    assert wrong.num_classes == 1000  # known without a look at the disk
    for look in (wrong.check_layout, wrong.load):
        with pytest.raises(DataError) as error:
            look()
        assert message(error).startswith(f"{tmp_path}/train: has 3 class folders, data.num_classes is 1000")


def test_images_that_nobody_sorted_are_said(tmp_path: Path) -> None:
    write_folder(tmp_path)
    (tmp_path / "test").mkdir()
    for index in range(5):
        (tmp_path / "test" / f"ILSVRC2012_val_{index}.JPEG").touch()
    with pytest.raises(DataError) as error:
        ImageFolder(root=str(tmp_path), test_folder="test").check_layout()
    assert message(error) == (
        f"{tmp_path}/test: has no class folders, only 5 files: move each image into a folder named after its class"
    )


def test_a_missing_root_is_said_before_anything_is_built(tmp_path: Path) -> None:
    for spec in (ImageFolder(root=str(tmp_path / "no")), ImageNet(root=str(tmp_path / "no"))):
        with pytest.raises(DataError) as error:
            spec.check_layout()
        assert message(error).startswith(f"{tmp_path}/no: no such folder; data.root is a folder that holds train/")


@pytest.mark.parametrize("linked", [False, True])
def test_the_training_images_are_no_test_images(linked: bool, tmp_path: Path) -> None:
    write_folder(tmp_path)
    if linked:
        (tmp_path / "again").symlink_to(tmp_path / "train")
    spec = ImageFolder(root=str(tmp_path), test_folder="again" if linked else "train")
    with pytest.raises(DataError, match="is the folder of the training images"):
        spec.load()
    assert len(spec.load_test()) == 4  # a finished network may be measured on them


def test_splits_of_other_names_are_no_classes(tmp_path: Path) -> None:
    write_folder(tmp_path)
    (tmp_path / "train").rename(tmp_path / "Train")
    with pytest.raises(DataError) as error:
        ImageFolder(root=str(tmp_path)).load()
    assert message(error).endswith("; rename Train, val: the folders are called train and val (or test)")
