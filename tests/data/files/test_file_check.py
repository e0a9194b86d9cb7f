"""Unreadable images are found before anything trains, and what is known of a file is kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pwfn.data import DataError, ImageFolder
from pwfn.data.files.file_check import look_at
from tests.support.images.data import message, write_folder


def break_some(root: Path) -> list[Path]:
    broken = [root / "train" / "cat" / "0.png", root / "val" / "dog" / "1.png", root / "val" / "dog" / "2.png"]
    broken[0].write_bytes(broken[0].read_bytes()[:45])
    broken[1].write_bytes(b"")
    broken[2].write_bytes(b"no image")
    return broken


def test_all_broken_files_are_named_at_once(tmp_path: Path) -> None:
    write_folder(tmp_path)
    ImageFolder(root=str(tmp_path), check=True).check_files(tmp_path / "cache.json")
    broken = break_some(tmp_path)
    with pytest.raises(DataError) as error:
        ImageFolder(root=str(tmp_path), check=True).check_files(tmp_path / "cache.json")
    line = message(error)
    assert line.startswith(f"{tmp_path}: 3 of 9 images cannot be read (data.check=skip leaves them out): ")
    assert all(f"{path}: not a readable image (" in line for path in broken)
    ImageFolder(root=str(tmp_path), check=False).check_files(tmp_path / "cache.json")


def test_skip_leaves_broken_files_out_and_says_how_many(tmp_path: Path) -> None:
    write_folder(tmp_path)
    broken = break_some(tmp_path)
    spec = ImageFolder(root=str(tmp_path), check="skip")
    spec.check_files(tmp_path / "cache.json")
    train, test = spec.load()
    assert (train.labels.tolist(), test.labels.tolist()) == ([0, 1, 1], [0, 0, 1])  # type: ignore[union-attr]
    assert spec.remarks() == [
        f"{tmp_path}/train: 1 images cannot be read and are left out (data.check=skip)",
        f"{tmp_path}/val: 2 images cannot be read and are left out (data.check=skip)",
    ]
    (tmp_path / "train" / "cat" / "1.png").write_bytes(b"")
    with pytest.raises(DataError) as error:
        ImageFolder(root=str(tmp_path), check="skip").load()
    assert message(error) == f"{tmp_path}/train: no image of cat can be read"
    assert broken


def test_only_new_and_changed_files_are_looked_at_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_folder(tmp_path)
    paths = sorted(map(str, tmp_path.glob("train/*/*.png")))
    cache = tmp_path / "cache" / "images.json"
    look_at(paths, cache=cache)
    monkeypatch.setattr("pwfn.data.files.file_check._known", {})  # another process
    decoded: list[str] = []
    monkeypatch.setattr("pwfn.data.files.file_check.decoded", lambda path, _: decoded.append(path))
    assert all(one.fault is None for one in look_at(paths, cache=cache).values())
    assert decoded == []
    Image.new("RGB", (30, 30)).save(paths[1])
    done: list[tuple[int, int]] = []
    look_at(paths, cache=cache, progress=lambda *counts: done.append(counts))
    assert decoded == [paths[1]]
    assert done == [(1, 4), (2, 4), (3, 4), (4, 4)]
    cache.write_text("{")  # a cache that cannot be read is made anew
    look_at(paths, cache=cache)
    assert cache.read_text().startswith('{"')


def test_headers_alone_miss_a_file_that_ends_too_early_but_not_an_empty_one(tmp_path: Path) -> None:
    write_folder(tmp_path)
    found = look_at([str(path) for path in break_some(tmp_path)], headers_only=True)
    assert [one.fault is None for one in found.values()] == [True, False, False]


def test_transparent_and_turned_images_are_counted(tmp_path: Path) -> None:
    write_folder(tmp_path)
    exif = Image.Exif()
    exif[274] = 6
    Image.new("RGBA", (4, 4)).save(tmp_path / "train" / "cat" / "a.png")
    Image.new("RGB", (4, 4)).save(tmp_path / "train" / "cat" / "b.jpg", exif=exif)
    spec = ImageFolder(root=str(tmp_path), check=True)
    spec.check_files(tmp_path / "cache.json")
    assert spec.remarks() == [
        "1 images have transparency: it is dropped as by timm, the stored colors stay",
        "1 images are stored turned and stay so, as with timm; data.exif=true turns them",
    ]


@pytest.mark.parametrize(("white", "remarks"), [(4095, 1), (65535, 0)])
def test_images_that_use_little_of_their_range_are_said(white: int, remarks: int, tmp_path: Path) -> None:
    write_folder(tmp_path)
    levels = np.linspace(0, white, 256, dtype=np.uint16).reshape(16, 16)
    Image.fromarray(levels).save(tmp_path / "train" / "cat" / "deep.png")
    Image.fromarray(levels // 2).save(tmp_path / "val" / "cat" / "deep.png")
    spec = ImageFolder(root=str(tmp_path), check=True)
    spec.check_files(tmp_path / "cache.json")
    found = [line for line in spec.remarks() if "nearly black" in line]
    assert len(found) == remarks
    assert not found or found[0].startswith("2 images have more than 8 bits and use less than an eighth of their range")
    spec.check_files(tmp_path / "cache.json")
    assert [line for line in spec.remarks() if "nearly black" in line] == found


def test_headers_alone_do_not_count_as_a_full_look(tmp_path: Path) -> None:
    path = tmp_path / "cut.jpg"
    Image.effect_noise((64, 64), 50).save(path)
    path.write_bytes(path.read_bytes()[:-800])
    cache = tmp_path / "checked.json"
    assert look_at([str(path)], headers_only=True, cache=cache)[str(path)].fault is None
    assert look_at([str(path)], cache=cache)[str(path)].fault is not None
    assert (
        look_at([str(path)], headers_only=True, cache=cache)[str(path)].fault is not None
    )  # what is known stays known


def test_a_cache_that_cannot_be_written_is_a_warning(tmp_path: Path) -> None:
    Image.new("L", (4, 4)).save(tmp_path / "one.png")
    (tmp_path / "file").touch()
    with pytest.warns(RuntimeWarning, match="cannot be written .*: the next run looks at all images again"):
        look_at([str(tmp_path / "one.png")], cache=tmp_path / "file" / "checked.json")
