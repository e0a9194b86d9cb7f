"""A set that timm cannot open, and a description that is wrong, are one line."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from pwfn.data import DataError, TimmData
from pwfn.errors import InvalidValueError
from tests.support.images.data import message, timm_spec, write_folder


def loaded(one: TimmData) -> None:
    """As a run does it."""
    one.check_layout()
    one.prepare()
    one.load()


def test_missing_sets_and_splits_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("no\nnetwork")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    write_folder(tmp_path)
    for changed, said in (
        ({"test_split": "test"}, f"{tmp_path}/test: no such folder or test.tar"),
        ({"test_split": "test", "name": "torch/image_folder"}, f"{tmp_path}/test: no such folder; it should hold"),
        ({"root": str(tmp_path / "no")}, f"{tmp_path}/no/train: no such folder or train.tar"),
        ({"num_classes": 3}, "folder: has 2 classes, data.num_classes is 3"),
        ({"name": "torch/cifar100", "num_classes": 100}, "torch/cifar100 train: cannot be opened (Dataset not found"),
        ({"name": "torch/cifar10", "download": True}, "torch/cifar10 train: cannot be opened (no network)"),
    ):
        one = timm_spec(tmp_path, **changed)
        with pytest.raises(DataError) as error:
            loaded(one)
        assert message(error).startswith(said)
    assert not list((tmp_path / "val" / "dog").glob("*.txt"))
    (tmp_path / "val" / "dog").rename(tmp_path / "val" / "fox")
    with pytest.raises(DataError, match=r"^folder: train and val differ in their classes$"):
        timm_spec(tmp_path).load()


@pytest.mark.parametrize(
    ("name", "package", "install"),
    [
        ("hfds/cifar10", "datasets", "pip install 'pwfn[huggingface]'"),
        ("hfids/cifar10", "datasets", "pip install 'pwfn[huggingface]'"),
        ("wds/x", "webdataset", "pip install 'pwfn[shards]'"),
    ],
)
def test_a_package_that_is_not_installed_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, package: str, install: str
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda wanted: None if wanted == package else real(wanted))
    for look in ("check_layout", "load", "load_test"):
        with pytest.raises(DataError) as error:
            getattr(timm_spec(tmp_path, name=name), look)()
        text = message(error)
        assert text.startswith(f"data.name = {name!r}: needs the package {package}, which is not installed: {install}")


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({"name": "imagenet"}, "name = 'imagenet': must be folder, hfds/<set>, hfids/<set>, wds/<word>, or torch/"),
        ({"name": "torch/imagenett"}, "name = 'torch/imagenett': must be folder"),
        ({"name": "folder/x"}, "name = 'folder/x': must be folder"),
        ({"name": "hfds/"}, "name = 'hfds/': must be folder"),
        ({"num_classes": 1}, "num_classes = 1: must be an integer from 2"),
        ({"root": None}, "root = None: must be a folder, and no command"),
        ({"name": "wds/x", "root": "pipe:touch x"}, "root = 'pipe:touch x': must be a folder, and no command (pipe:)"),
        ({"name": "wds/x", "root": "PIPE:touch x"}, "root = 'PIPE:touch x': must be"),
        ({"test_split": "train"}, "test_split = 'train': must be another split than data.train_split"),
        ({"channels": 2}, "channels = 2: must be 1 or 3"),
        ({"input_key": "img"}, "input_key = 'img': must be null: only hfds/"),
        ({"target_key": "y"}, "target_key = 'y': must be null: only hfds/"),
        ({"train_length": 10}, "train_length = 10: must be null, or for a streamed set an integer from 1"),
        ({"name": "wds/x", "train_length": 0}, "train_length = 0: must be null, or for a streamed set"),
        ({"shuffle_buffer": 0}, "shuffle_buffer = 0: must be an integer from 1"),
        ({"name": "hfds/x", "download": True}, "download = True: must be false: only torch/ asks"),
        ({"name": "wds/x", "val_fraction": 0.1}, "val_fraction = 0.1: must be 0, because wds/ is streamed"),
        ({"name": "hfids/x", "train_images": 10}, "train_images = 10: must be null, because hfids/ is streamed"),
        ({"name": "tfds/mnist"}, "name = 'tfds/mnist': must be folder, hfds/<set>, hfids/<set>, wds/<word>, or torch/"),
        ({"name": "torch/cifar10", "exif": True}, "exif = True: must be false: the images of torch/cifar10 are no"),
        ({"name": "torch/mnist", "check": True}, "check = True: must be false: torch/mnist does not list its files;"),
        ({"name": "hfds/x", "check": "skip"}, "check = 'skip': must be false: hfds/x does not list its files;"),
        ({"name": "wds/x", "test_images": 10}, "test_images = 10: must be null, because wds/ is streamed"),
    ],
)  # fmt: skip
def test_wrong_descriptions_are_refused(tmp_path: Path, changed: dict[str, Any], line: str) -> None:
    with pytest.raises(InvalidValueError) as error:
        timm_spec(tmp_path, **changed)
    assert str(error.value).startswith(line)
