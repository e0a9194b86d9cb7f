"""Which images a data set gives: splits and subsets in proportion, settings out of range, what is loaded when."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pwfn.data import (
    DataError,
    Digits,
    ImageData,
    ImageFolder,
    Synthetic,
)
from pwfn.data.images import ArrayImages, stratified_split
from pwfn.errors import InvalidValueError
from tests.support.images.data import TINY, message

# -------- stratified_split


@pytest.mark.parametrize("count", [0, 1, 7, 100, 166, 167])
def test_stratified_split_takes_each_class_in_proportion(count: int) -> None:
    labels = np.repeat([0, 1, 2], [100, 50, 17])
    chosen, rest = stratified_split(labels, count, seed=3)
    assert len(chosen) == count
    assert sorted([*chosen, *rest]) == list(range(167))
    for label, size in enumerate([100, 50, 17]):
        assert abs((labels[chosen] == label).sum() - count * size / 167) < 1


def test_stratified_split_is_seeded() -> None:
    labels = np.arange(500) % 10
    first, again, other = (stratified_split(labels, 100, seed)[0] for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


# -------- specs


@pytest.mark.slow
def test_importing_the_specs_loads_no_image_library() -> None:
    heavy = ("torchvision", "timm", "sklearn", "pytorch_lightning", "PIL")
    code = f"import sys, pwfn.data; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        ("batch_size", 0, "an integer from 1"),
        ("batch_size", True, "an integer from 1"),
        ("eval_batch_size", 1.5, "an integer from 1"),
        ("num_workers", -1, "an integer from 0"),
        ("image_size", 0, "an integer from 1, or null"),
        ("val_fraction", 1.0, "a number from 0 to below 1, or null"),
        ("val_fraction", float("nan"), "a number from 0 to below 1, or null"),
        ("split_seed", -1, "an integer from 0"),
        ("train_images", 0, "an integer from 1, or null"),
        ("test_images", "all", "an integer from 1, or null"),
    ],
)
def test_common_fields_are_checked(field: str, value: Any, allowed: str) -> None:
    with pytest.raises(InvalidValueError) as error:
        Digits(**{field: value})
    assert str(error.value) == f"{field} = {value!r}: must be {allowed}"


def test_all_faults_of_a_spec_are_reported_at_once() -> None:
    with pytest.raises(InvalidValueError) as error:
        Synthetic(batch_size=0, num_classes=1, channels=2, pixels=0, train_size=0, test_size=0, noise=-1.0)
    names = [fault.name for fault in error.value.faults]
    assert names == ["batch_size", "channels", "num_classes", "pixels", "train_size", "test_size", "noise"]


@pytest.mark.parametrize(
    "spec", [Digits(val_fraction=0.1), replace(TINY, val_fraction=0.25)], ids=["digits", "synthetic"]
)
def test_partition_is_disjoint_complete_stratified_and_the_same_at_every_load(spec: ImageData) -> None:
    first, again = spec.partition(), spec.partition()
    assert first.val is not None
    assert again.val is not None
    for one, other in zip(first, again, strict=True):
        assert isinstance(one, ArrayImages)
        assert isinstance(other, ArrayImages)
        assert np.array_equal(one.pixels, other.pixels)
        assert np.array_equal(one.labels, other.labels)

    def contents(images: Any) -> list[tuple[bytes, int]]:
        return sorted(
            (pixels.tobytes(), int(label)) for pixels, label in zip(images.pixels, images.labels, strict=True)
        )

    train, test = spec.load()
    assert sorted(contents(first.train) + contents(first.val)) == contents(train)
    assert contents(first.test) == contents(test)
    shares = np.bincount(first.val.labels) / np.bincount(train.labels)
    assert np.abs(shares - spec.val_fraction).max() < 1 / np.bincount(train.labels).min()


def test_digits_are_split_without_loss() -> None:
    from sklearn.datasets import load_digits

    train, test = Digits().load()
    assert (len(train), len(test)) == (1438, 359)
    assert np.bincount(test.labels).min() >= 34
    both = np.concatenate([train.pixels, test.pixels]).reshape(1797, -1)  # type: ignore[attr-defined]
    original = np.round(load_digits().images * 255 / 16).astype(np.uint8).reshape(1797, -1)
    assert np.array_equal(both[np.lexsort(both.T)], original[np.lexsort(original.T)])
    other = Digits(split_seed=1).load().test
    assert not np.array_equal(test.pixels, other.pixels)  # type: ignore[attr-defined]


def test_subsets_are_stratified_and_seeded() -> None:
    limited = replace(TINY, train_images=20, test_images=10, val_fraction=0.5).partition()
    assert limited.val is not None
    assert np.bincount(limited.train.labels).tolist() == np.bincount(limited.val.labels).tolist() == [1] * 10
    assert np.bincount(limited.test.labels).tolist() == [1] * 10


def test_too_few_images_are_one_clear_error() -> None:
    with pytest.raises(DataError) as error:
        replace(TINY, train_images=61).partition()
    assert message(error) == "train_images = 61: Synthetic has only 60"
    with pytest.raises(DataError) as error:
        replace(TINY, val_fraction=0.001).partition()
    assert message(error) == "val_fraction = 0.001: takes 0 of 60 training images"


def test_synthetic_classes_share_a_pattern_over_both_splits() -> None:
    train, test = Synthetic(num_classes=5, channels=3).load()
    centers = np.stack([train.pixels[train.labels == label].mean(0) for label in range(5)])  # type: ignore[attr-defined]
    distances = ((test.pixels[:, None] - centers) ** 2).sum((2, 3, 4))  # type: ignore[attr-defined]
    assert (distances.argmin(1) == test.labels).all()


def test_classes_of_a_folder_that_is_there_are_counted(tmp_path: Path) -> None:
    assert ImageFolder(root=str(tmp_path)).classes_if_known is None
    for name in "abc":
        (tmp_path / "train" / name).mkdir(parents=True)
    assert ImageFolder(root=str(tmp_path)).classes_if_known == 3
    assert Synthetic(num_classes=7).classes_if_known == 7
