"""Classes, files and images of a folder of one's own: what counts, in which order, and what is refused."""

from __future__ import annotations

import os
import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from timm.data import create_dataset
from timm.utils import natural_key as key_of_timm

from pwfn.data import DataError, ImageFolder
from pwfn.data.files.folders import natural_key
from pwfn.errors import InvalidValueError
from tests.support.images.data import message, write_folder

AWKWARD = {
    "numbers": tuple(str(number) for number in range(1, 13)),
    "mixed": ("class2", "class10", "class1"),
    "cases": ("Zebra", "apple", "Mango"),
}


def folder(root: Path, **changed: object) -> ImageFolder:
    return ImageFolder(root=str(root), **changed)  # type: ignore[arg-type]


@pytest.mark.parametrize("classes", AWKWARD.values(), ids=AWKWARD)
def test_classes_are_numbered_as_timm_numbers_them(classes: tuple[str, ...], tmp_path: Path) -> None:
    write_folder(tmp_path, classes=classes)
    of_timm = create_dataset("folder", str(tmp_path / "train")).reader.class_to_idx
    spec = folder(tmp_path)
    assert {name: number for number, name in enumerate(spec.class_names)} == of_timm
    train = spec.load().train
    for index in (0, len(train.labels) - 1):  # type: ignore[union-attr]
        path = Path(os.fsdecode(train.paths[index]))  # type: ignore[union-attr]
        assert of_timm[path.parent.name] == train.labels[index]  # type: ignore[union-attr]
    assert folder(tmp_path, class_order="sorted").class_names == tuple(sorted(classes))


def test_the_natural_order_is_that_of_timm_for_any_names() -> None:
    draw = random.Random(0)
    names = ["".join(draw.choices("aB01 9_-ä", k=draw.randint(1, 6))) for _ in range(500)]
    assert sorted(names, key=natural_key) == sorted(sorted(names), key=key_of_timm)
    assert sorted(["x²", "x10"], key=natural_key) == ["x10", "x²"]  # where timm's key fails


def test_it_is_said_where_the_two_orders_differ(tmp_path: Path) -> None:
    write_folder(tmp_path / "a", classes=AWKWARD["mixed"])
    assert folder(tmp_path / "a").remarks() == [
        "the classes are numbered class1, class2, class10 (data.class_order=natural); a head trained in "
        "torchvision's order, class1, class10, class2, needs data.class_order=sorted"
    ]
    write_folder(tmp_path / "b")
    assert folder(tmp_path / "b").remarks() == []


def test_a_file_may_list_the_classes(tmp_path: Path) -> None:
    write_folder(tmp_path, classes=("a", "b", "c"))
    order = tmp_path / "classes.txt"
    order.write_text("c\na\n\nb\n")
    assert folder(tmp_path, class_order=str(order)).class_names == ("c", "a", "b")
    order.write_text("c\na\nb\n", encoding="utf-8-sig")  # as some editors save it
    assert folder(tmp_path, class_order=str(order)).class_names == ("c", "a", "b")
    for content, line in {
        "c\na\n": f"{order}: does not list the class folder of {tmp_path}/train: b",
        "c\na\nb\nd\n": f"{order}: lists a class without a folder in {tmp_path}/train: d",
        "c\na\nb\na\n": f"{order}: lists a more than once",
    }.items():
        order.write_text(content)
        with pytest.raises(DataError) as error:
            folder(tmp_path, class_order=str(order)).check_layout()
        assert message(error) == line
    with pytest.raises(InvalidValueError, match="class_order = 'random': must be natural, sorted, or a file"):
        folder(tmp_path, class_order="random")


def test_hidden_and_service_folders_are_no_classes_and_their_images_are_not_read(tmp_path: Path) -> None:
    write_folder(tmp_path)
    for name in (".ipynb_checkpoints", ".thumbnails", "@eaDir", "__MACOSX"):
        for place in (tmp_path / "train", tmp_path / "train" / "cat"):
            (place / name).mkdir()
            Image.new("RGB", (4, 4)).save(place / name / "0.png")
    Image.new("RGB", (4, 4)).save(tmp_path / "train" / "cat" / "._0.png")
    spec = folder(tmp_path)
    assert spec.class_names == ("cat", "dog")
    assert spec.load().train.labels.tolist() == [0, 0, 1, 1]  # type: ignore[union-attr]


def test_linked_folders_are_read_once_and_loops_end(tmp_path: Path) -> None:
    write_folder(tmp_path / "set")
    more = tmp_path / "elsewhere" / "deep"
    more.mkdir(parents=True)
    Image.new("RGB", (4, 4)).save(more / "far.png")
    cat = tmp_path / "set" / "train" / "cat"
    (cat / "linked").symlink_to(tmp_path / "elsewhere")
    (cat / "loop").symlink_to(cat)
    (cat / "up").symlink_to(tmp_path / "set" / "train")
    (more / "up").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "set" / "train" / "eel").symlink_to(more)
    (tmp_path / "set" / "val" / "eel").symlink_to(more)
    train = folder(tmp_path / "set").load().train
    names = [os.path.relpath(os.fsdecode(path), tmp_path / "set" / "train") for path in train.paths]  # type: ignore[union-attr]
    assert names == ["cat/0.png", "cat/1.png", "cat/linked/deep/far.png", "dog/0.png", "dog/1.png", "eel/far.png"]


def test_an_unreadable_folder_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_folder(tmp_path)
    closed = tmp_path / "train" / "cat" / "closed"
    closed.mkdir()
    scan = os.scandir

    def scandir(path: str) -> object:  # root may read everything
        if str(path) == str(closed):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(DataError) as error:
        folder(tmp_path).load()
    assert message(error) == f"{closed}: cannot be read (Permission denied)"


def test_what_pillow_can_read_is_read_and_the_rest_is_counted(tmp_path: Path) -> None:
    write_folder(tmp_path)
    cat = tmp_path / "train" / "cat"
    for name in ("a.jfif", "b.jpe", "c.gif", "d.JPG"):
        Image.new("RGB", (4, 4)).save(cat / name, format="GIF" if name == "c.gif" else "JPEG")
    for name in ("notes.txt", "more.TXT", "list.csv", "README", ".hidden"):
        (cat / name).write_text("x")
    spec = folder(tmp_path)
    assert len(spec.load().train) == 2 + 4 + 2  # type: ignore[arg-type]
    assert spec.remarks() == [f"{tmp_path}/train: 1 .csv, 2 .txt, 1 no ending passed over: not the endings of images"]


def test_images_beside_the_class_folders_are_counted(tmp_path: Path) -> None:
    write_folder(tmp_path)
    spec = folder(tmp_path)
    assert len(spec.load().train) == 4
    assert spec.remarks() == []
    for name in ("a.JPG", "b.png", ".c.png", "notes.txt"):
        (tmp_path / "train" / name).write_bytes(b"x")
    assert len(spec.load().train) == 4
    line = f"{tmp_path}/train: 2 images beside the class folders belong to no class: passed over"
    assert spec.remarks() == [line]


def test_one_folder_too_deep_is_refused(tmp_path: Path) -> None:
    write_folder(tmp_path / "flat")
    for split in ("train", "val"):
        (tmp_path / "set" / split).mkdir(parents=True)
        (tmp_path / "flat" / split).rename(tmp_path / "set" / split / "images")
    with pytest.raises(DataError) as error:
        folder(tmp_path / "set").check_layout()
    train = tmp_path / "set" / "train"
    assert message(error) == (
        f"{train}: has one class folder only, images; it holds cat, dog: if these are the classes, move them to {train}"
    )


def test_a_flat_validation_folder_with_annotations_says_what_is_expected(tmp_path: Path) -> None:
    write_folder(tmp_path, classes=("n01443537", "n02058221"))
    val = tmp_path / "val"
    for name in ("n01443537", "n02058221"):
        for image in (val / name).iterdir():
            image.rename(val / f"{name}_{image.name}")
        (val / name).rmdir()
    (val / "val_annotations.txt").write_text("...")
    with pytest.raises(DataError) as error:
        folder(tmp_path).check_layout()
    assert message(error).endswith(
        "has no class folders, only 5 files: move each image into a folder named after its class "
        "(val_annotations.txt may say which class; it is not read)"
    )
    (val / "images").mkdir()  # as tiny-imagenet has it
    for image in val.glob("*.png"):
        image.rename(val / "images" / image.name)
    with pytest.raises(DataError) as error:
        folder(tmp_path).check_layout()
    assert message(error) == (
        f"{val}: has the folder images and val_annotations.txt, which is not read: move each image into a folder named "
        f"after its class, as {val}/n01443537"
    )


def test_a_folder_name_that_is_not_utf8_is_refused_before_the_start(tmp_path: Path) -> None:
    write_folder(tmp_path)
    for split in ("train", "val"):
        os.mkdir(os.fsencode(tmp_path / split) + b"/caf\xe9")
        Image.new("RGB", (4, 4)).save(os.fsdecode(os.fsencode(tmp_path / split) + b"/caf\xe9/0.png"))
    with pytest.raises(DataError) as error:
        folder(tmp_path).check_layout()
    assert message(error) == f"{tmp_path}/train: the folder name b'caf\\xe9' is not UTF-8; rename it"


def test_a_root_of_the_wrong_level_suggests_the_right_one(tmp_path: Path) -> None:
    write_folder(tmp_path)
    with pytest.raises(DataError, match=f"did you mean data.root={tmp_path}\\?"):
        folder(tmp_path / "train").check_layout()
    (tmp_path / "train").rename(tmp_path / "all")
    (tmp_path / "val").rename(tmp_path / "more")
    with pytest.raises(DataError, match=r"data\.split=\[0\.8,0\.1,0\.1\] splits their images"):
        folder(tmp_path).check_layout()


def test_test_images_alone_are_enough_to_test(tmp_path: Path) -> None:
    write_folder(tmp_path, classes=("a", "b", "c"))
    both = folder(tmp_path).load_test()
    (tmp_path / "train").rename(tmp_path / "gone")
    spec = folder(tmp_path)
    assert (spec.num_classes, spec.test_class_names) == (3, ("a", "b", "c"))
    assert np.array_equal(spec.test_images_alone().labels, both.labels)  # type: ignore[union-attr]
    with pytest.raises(DataError, match="train: no such folder"):
        spec.check_layout()
