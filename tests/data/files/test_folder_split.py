"""One folder of images is split by shares or by the file of an earlier run."""

from __future__ import annotations

import csv
import io
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pwfn.data import DataError, ImageFolder
from pwfn.data.files.folder_split import by_fractions, why_no_validation, with_kept_choices
from pwfn.data.spec import Partition
from pwfn.errors import InvalidValueError
from tests.support.images.data import message

SHARES = (0.6, 0.2, 0.2)


def one_folder(root: Path, sizes: dict[str, int]) -> Path:
    for name, size in sizes.items():
        (root / name).mkdir(parents=True)
        for index in range(size):
            Image.new("RGB", (4, 4), (index, 0, 0)).save(root / name / f"{index}.png")
    return root


def files(partition: Partition) -> list[list[str]]:
    return [[os.fsdecode(path) for path in images.paths] for images in partition]  # type: ignore[union-attr]


def test_a_folder_is_split_in_proportion_and_by_its_seed(tmp_path: Path) -> None:
    root = one_folder(tmp_path, {"ant": 20, "bee": 10})
    partition = ImageFolder(root=str(root), split=SHARES).partition()
    assert [Counter(images.labels.tolist()) for images in partition] == [  # type: ignore[union-attr]
        {0: 12, 1: 6}, {0: 4, 1: 2}, {0: 4, 1: 2}]  # fmt: skip
    found = files(partition)
    assert sorted(path for part in found for path in part) == sorted(str(path) for path in root.glob("*/*.png"))
    assert files(ImageFolder(root=str(root), split=SHARES).partition()) == found
    assert files(ImageFolder(root=str(root), split=SHARES, split_seed=1).partition()) != found
    spec = ImageFolder(root=str(root), split=SHARES)
    assert [os.fsdecode(path) for path in spec.load_test().paths] == found[2]  # type: ignore[attr-defined]
    assert len(ImageFolder(root=str(root), split=(0.8, 0.0, 0.2)).partition().train) == 24  # type: ignore[arg-type]
    assert ImageFolder(root=str(root), split=(0.8, 0.0, 0.2)).partition().val is None


def test_the_split_of_a_run_is_kept_where_images_are_added(tmp_path: Path) -> None:
    root = one_folder(tmp_path / "set", {"ant": 20, "bee": 10})
    spec = ImageFolder(root=str(root), split=SHARES)
    before = spec.partition()
    table = spec.split_table(before)
    assert table is not None
    rows = list(csv.DictReader(io.StringIO(table)))
    assert Counter(row["split"] for row in rows) == {"train": 18, "val": 6, "test": 6}
    assert {row["file"] for row in rows if row["split"] == "test"} == {
        os.path.relpath(path, root) for path in files(before)[2]
    }
    assert with_kept_choices(spec, tmp_path / "split.csv", tmp_path / "class_order.txt") is spec
    (tmp_path / "split.csv").write_text(table)
    for index in range(10, 20):
        Image.new("RGB", (4, 4)).save(root / "bee" / f"{index}.png")
    kept = with_kept_choices(spec, tmp_path / "split.csv", tmp_path / "class_order.txt")
    assert [sorted(part) for part in files(kept.partition())] == [sorted(part) for part in files(before)]
    assert files(spec.partition()) != files(before)
    (root / "bee" / "0.png").unlink()
    with pytest.raises(DataError, match=r"split\.csv: lists 'bee/0\.png', which is no split or no image below"):
        kept.partition()


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({"split": (0.8, 0.1, 0.2)}, "split = (0.8, 0.1, 0.2): must be three shares whose sum is 1"),
        ({"split": (1.0, 0.0, 0.0)}, "the first and the last above 0, or a file split.csv"),
        ({"split": "no/split.csv"}, "split = 'no/split.csv': must be three shares"),
        ({"split": SHARES, "val_fraction": 0.1}, "val_fraction = 0.1: must be 0 or null where data.split is given"),
        ({"split": SHARES, "test_folder": "val"}, "test_folder = 'val': must be null where data.split is given"),
    ],
)
def test_a_split_that_cannot_be_is_refused(changed: dict[str, Any], line: str) -> None:
    with pytest.raises(InvalidValueError) as error:
        ImageFolder(**changed)
    assert line in str(error.value)


def test_too_few_images_for_a_split_are_said(tmp_path: Path) -> None:
    root = one_folder(tmp_path, {"ant": 1, "bee": 1})
    with pytest.raises(DataError) as error:
        ImageFolder(root=str(root), split=(0.8, 0.1, 0.1)).partition()
    assert message(error) == "data.split = (0.8, 0.1, 0.1): leaves no test images of 2"


def table_of(root: Path) -> str:
    spec = ImageFolder(root=str(root), split=SHARES)
    table = spec.split_table(spec.partition())
    assert table is not None
    return table


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda table: table + "test,ant/0.png\n" * 2, "lists 'ant/0.png' twice, as "),
        (lambda table: table.replace("val,", "valid,"), "lists 'valid', which is no split or no image below "),
        (lambda table: table.replace(",", ";"), "has no columns split and file, separated by commas"),
        (lambda table: table.replace("train,bee", "val,bee"), "lists no training images of class 1 (counted from 0)"),
    ],
)
def test_a_file_that_is_no_split_is_refused(change: Callable[[str], str], line: str, tmp_path: Path) -> None:
    root = one_folder(tmp_path / "set", {"ant": 20, "bee": 10})
    (tmp_path / "split.csv").write_text(change(table_of(root)))
    with pytest.raises(DataError) as error:
        ImageFolder(root=str(root), split=str(tmp_path / "split.csv")).partition()
    assert f"split.csv: {line}" in message(error)


def test_a_split_that_a_spreadsheet_has_saved_is_read(tmp_path: Path) -> None:
    root = one_folder(tmp_path / "set", {"ant": 20, "bee": 10})
    expected = files(ImageFolder(root=str(root), split=SHARES).partition())
    (tmp_path / "split.csv").write_text(table_of(root).replace("\n", "\r\n"), encoding="utf-8-sig", newline="")
    split = str(tmp_path / "split.csv")
    assert [sorted(part) for part in files(ImageFolder(root=str(root), split=split).partition())] == [
        sorted(part) for part in expected
    ]
    assert why_no_validation(split) is None


@pytest.mark.parametrize("names", [("train", "val"), ("Training", "Test", "validation")])
def test_splits_are_no_classes_to_be_split(names: tuple[str, ...], tmp_path: Path) -> None:
    root = one_folder(tmp_path, dict.fromkeys(names, 10))
    with pytest.raises(DataError, match=r"are splits, not classes: leave out data\.split"):
        ImageFolder(root=str(root), split=SHARES).check_layout()
    assert ImageFolder(root=str(one_folder(tmp_path / "more", {"train": 10, "bus": 10})), split=SHARES).num_classes == 2


def test_a_class_too_small_for_a_split_is_named() -> None:
    labels = np.array([0] * 30 + [1] * 30 + [2])
    with pytest.raises(DataError, match=r"data\.split leaves class 2 \(counted from 0\) without test images: it has 1"):
        by_fractions(labels, (0.8, 0.1, 0.1), seed=0)


@pytest.mark.parametrize(("rows", "missing"), [("train,a\nval,b\ntest,c\n", False), ("train,a\ntest,c\n", True)])
def test_a_split_without_validation_images_says_so(rows: str, missing: bool, tmp_path: Path) -> None:
    file = tmp_path / "split.csv"
    file.write_text(f"split,file\n{rows}")
    assert (why_no_validation(str(file)) is not None) == missing
    assert why_no_validation(str(tmp_path / "nothing.csv")) is None
    assert why_no_validation((0.7, 0.1, 0.2)) is None
    assert "data.split = [0.8, 0.0, 0.2]" in (why_no_validation((0.8, 0.0, 0.2)) or "")
