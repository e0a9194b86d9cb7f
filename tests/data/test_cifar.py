"""CIFAR: pickles that are opened only with the right checksum."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pwfn.data import CIFAR10, CIFAR100, DataError
from tests.support.images.data import message


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


# class, folder, its files: training, test, meta; the keys of the labels and of their names
KINDS = [
    (CIFAR10, "cifar-10-batches-py", ("data_batch_1", "test_batch", "batches.meta"), "labels", "label_names"),
    (CIFAR100, "cifar-100-python", ("train", "test", "meta"), "fine_labels", "fine_label_names"),
]


@pytest.mark.parametrize(("kind", "below"), [kind[:2] for kind in KINDS])
def test_files_with_a_wrong_checksum_are_never_unpickled(tmp_path: Path, kind: type[CIFAR10], below: str) -> None:
    with pytest.raises(DataError) as error:
        kind(root=str(tmp_path)).load()
    assert "data.download=true" in message(error)
    assert f"no intact {below} in {tmp_path}" in message(error)

    folder = tmp_path / below
    folder.mkdir()
    names = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch", "batches.meta", "train", "test", "meta"]
    for name in names:
        (folder / name).write_bytes(pickle.dumps(Bomb(tmp_path / "exploded")))
    with pytest.raises(DataError):
        kind(root=str(tmp_path)).load()
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize(("kind", "below", "names", "labels", "label_names"), KINDS)
def test_files_with_the_right_checksum_are_read(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: type[CIFAR10],
    below: str,
    names: tuple[str, str, str],
    labels: str,
    label_names: str,
) -> None:
    import torchvision.datasets

    folder = tmp_path / below
    folder.mkdir()
    rng = np.random.default_rng(0)
    train, test, meta = names
    planes = {name: rng.integers(0, 256, (4, 3, 32, 32), dtype=np.uint8) for name in (train, test)}
    contents: dict[str, Any] = {
        name: {"data": one.reshape(4, -1), labels: [3, 1, 4, 1]} for name, one in planes.items()
    }
    sums = {}
    for name, content in {**contents, meta: {label_names: ["x"]}}.items():
        (folder / name).write_bytes(pickle.dumps(content))
        sums[name] = hashlib.md5((folder / name).read_bytes()).hexdigest()
    original = getattr(torchvision.datasets, kind.__name__)
    monkeypatch.setattr(original, "train_list", [[train, sums[train]]])
    monkeypatch.setattr(original, "test_list", [[test, sums[test]]])
    monkeypatch.setattr(original, "meta", {**original.meta, "md5": sums[meta]})
    for images, name in zip(kind(root=str(tmp_path)).load(), planes, strict=True):
        assert images.labels.tolist() == [3, 1, 4, 1]
        assert np.array_equal(np.asarray(images[2][0]), planes[name][2].transpose(1, 2, 0))


def test_the_hundred_classes_are_in_the_order_of_their_labels() -> None:
    """CIFAR-100 numbers its classes by the alphabet."""
    names = CIFAR100.class_names
    assert len(names) == len(set(names)) == CIFAR100.num_classes == 100
    assert list(names) == sorted(names)
