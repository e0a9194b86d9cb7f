"""IDX files: read as torchvision reads them, named when damaged or missing. Nothing is downloaded."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pwfn.data import (
    MNIST,
    DataError,
    FashionMNIST,
)
from pwfn.data.module import ImageDataModule
from pwfn.errors import InvalidValueError
from tests.support.images.data import CONFIG, message


def write_idx(folder: Path, zipped: bool = False) -> dict[str, bytes]:
    """A tiny Fashion-MNIST: 20 and 10 images of 28 x 28. Returns the content of each file, by its name."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    contents = {}
    for prefix, count in (("train", 20), ("t10k", 10)):
        pixels = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        contents[f"{prefix}-images-idx3-ubyte"] = struct.pack(">4I", 0x803, count, 28, 28) + pixels.tobytes()
        contents[f"{prefix}-labels-idx1-ubyte"] = struct.pack(">2I", 0x801, count) + labels.tobytes()
    for name, content in contents.items():
        (folder / f"{name}.gz").write_bytes(gzip.compress(content)) if zipped else (folder / name).write_bytes(content)
    return contents


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("below", ["", "FashionMNIST/raw"])
def test_idx_files_are_read_as_torchvision_reads_them(tmp_path: Path, below: str, zipped: bool) -> None:
    from torchvision.datasets.mnist import read_image_file, read_label_file

    write_idx(tmp_path / below, zipped)
    write_idx(tmp_path / "plain")
    train, test = FashionMNIST(root=str(tmp_path)).load()
    for images, prefix in ((train, "train"), (test, "t10k")):
        pixels = read_image_file(str(tmp_path / "plain" / f"{prefix}-images-idx3-ubyte"))
        labels = read_label_file(str(tmp_path / "plain" / f"{prefix}-labels-idx1-ubyte"))
        assert np.array_equal(images.pixels, pixels.numpy())  # type: ignore[attr-defined]
        assert np.array_equal(images.labels, labels.numpy())
    image, label = train[3]
    assert (image.mode, image.size, label) == ("L", (28, 28), 3)


def header(content: bytes, at: int, value: int) -> bytes:
    return content[: 4 * at] + struct.pack(">I", value) + content[4 * at + 4 :]


@pytest.mark.parametrize(
    ("name", "damage", "said"),
    [
        (
            "train-images-idx3-ubyte",
            lambda c: c[:-1],
            "has 15695 bytes, its header (20 x 28 x 28 values) asks for 15696",
        ),
        ("train-images-idx3-ubyte", lambda c: c + b"x", "has 15697 bytes"),
        ("train-images-idx3-ubyte", lambda c: c[:10], "has 10 bytes, too few for an IDX header"),
        ("train-images-idx3-ubyte", lambda _: b"", "has 0 bytes"),
        ("t10k-images-idx3-ubyte", lambda c: header(c, 0, 0x801), "begins with 0x00000801, not 0x00000803"),
        ("t10k-images-idx3-ubyte", lambda c: header(c, 1, 2**32 - 1), "4294967295 x 28 x 28 values"),
        ("t10k-labels-idx1-ubyte", lambda c: c[:-1] + b"\x0a", "has the label 10, the last class is 9"),
        ("t10k-labels-idx1-ubyte", lambda c: header(c, 1, 9)[:-1], "has 9 labels for the 10 images"),
        ("t10k-labels-idx1-ubyte", lambda c: header(c, 1, 0)[:8], "0 values"),
    ],
)
def test_damaged_idx_files_are_named(tmp_path: Path, name: str, damage: Callable[[bytes], bytes], said: str) -> None:
    contents = write_idx(tmp_path)
    (tmp_path / name).write_bytes(damage(contents[name]))
    with pytest.raises(DataError) as error:
        FashionMNIST(root=str(tmp_path)).load()
    assert message(error).startswith(str(tmp_path / name))
    assert said in message(error)


@pytest.mark.parametrize(
    "damage", [lambda c: c[: len(c) // 2], lambda _: b"no gzip", lambda c: c[:20] + b"\xff" * 9 + c[29:]]
)
def test_damaged_gzip_files_are_named(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    write_idx(tmp_path, zipped=True)
    path = tmp_path / "train-labels-idx1-ubyte.gz"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError) as error:
        FashionMNIST(root=str(tmp_path)).load()
    assert message(error).startswith(f"{path}: cannot be read")


def test_a_missing_idx_file_is_named(tmp_path: Path) -> None:
    write_idx(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError) as error:
        FashionMNIST(root=str(tmp_path)).load()
    assert message(error) == f"{tmp_path}/t10k-labels-idx1-ubyte: missing (nor is there a t10k-labels-idx1-ubyte.gz)"


def test_a_missing_set_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FashionMNIST, "system_folder", str(tmp_path / "nowhere"))
    for spec in (FashionMNIST(), FashionMNIST(root=str(tmp_path))):
        with pytest.raises(DataError) as error:
            spec.load()
        text = message(error)
        assert "data.download=true" in text
        assert "data.root=<folder of the IDX files>" in text
        assert "apt-get install dataset-fashion-mnist" in text
        assert (spec.root or "nowhere") in text
    with pytest.raises(DataError) as error:
        MNIST().load()
    assert "data.download=true data.root=<folder>" in message(error)
    assert "apt-get" not in message(error)


def test_download_needs_a_folder_and_happens_only_if_files_are_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torchvision.datasets

    with pytest.raises(InvalidValueError, match="root = None: must be a folder when download is true"):
        FashionMNIST(download=True)

    asked = []

    def refuse(root: str, **_: bool) -> None:
        asked.append(root)
        raise OSError("no\nnetwork")

    monkeypatch.setattr(torchvision.datasets, "FashionMNIST", refuse)
    spec = FashionMNIST(root=str(tmp_path), download=True)
    with pytest.raises(DataError) as error:
        ImageDataModule(spec, CONFIG, 0).setup()
    assert message(error) == f"FashionMNIST: the download into {tmp_path} failed (no network)"
    write_idx(tmp_path)
    spec.prepare()
    assert asked == [str(tmp_path)]


@pytest.mark.skipif(not Path(str(FashionMNIST.system_folder)).is_dir(), reason="dataset-fashion-mnist is not installed")
def test_debians_fashion_mnist_is_found() -> None:
    train, test = FashionMNIST().load()
    assert np.bincount(train.labels).tolist() == [6000] * 10
    assert np.bincount(test.labels).tolist() == [1000] * 10
    assert train.pixels.shape == (60000, 28, 28)  # type: ignore[attr-defined]
