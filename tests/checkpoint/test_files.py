"""Checkpoint files: whole or not there, checked before they are believed."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from pwfn.checkpoint import files
from pwfn.checkpoint.files import CheckpointError
from pwfn.records import files as run_files
from pwfn.records.files import CHECKPOINTS


def content(number: int) -> dict[str, Any]:
    return {"number": number, "weights": torch.full((1000,), float(number)), "rows": [{"a": 0.1}, {}], "nothing": None}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(3):
        files.write(tmp_path, content(number), keep=2)
    return tmp_path


def test_the_newest_comes_back_to_the_last_bit(folder: Path) -> None:
    newest = files.newest(folder)
    assert newest is not None
    assert newest["number"] == 2
    assert newest["rows"] == [{"a": 0.1}, {}]
    assert torch.equal(newest["weights"], content(2)["weights"])


def test_only_so_many_are_kept_and_nothing_else_is_left(folder: Path) -> None:
    names = [path.name for path in sorted((folder / CHECKPOINTS).iterdir())]
    assert [name[:7] for name in names] == ["000002-", "000003-"]
    assert all(name.endswith(".ckpt") for name in names)


def test_a_run_without_checkpoints(tmp_path: Path) -> None:
    assert files.newest(tmp_path) is None
    assert files.files(tmp_path) == []


@pytest.mark.parametrize("place", [0, 100, -1])
def test_one_flipped_bit_is_noticed(folder: Path, place: int) -> None:
    before, newest = files.files(folder)
    damaged = bytearray(newest.read_bytes())
    damaged[place] ^= 1
    newest.write_bytes(damaged)
    said: list[str] = []
    content = files.newest(folder, said.append)
    assert content is not None
    assert content["number"] == 1
    assert said == [
        f"{newest} is damaged (its content does not have the checksum of its name): going back to {before.name}"
    ]


def test_one_cut_short_is_noticed_and_with_no_good_one_left_it_is_an_error(folder: Path) -> None:
    before, newest = files.files(folder)
    newest.write_bytes(newest.read_bytes()[:-10])
    content = files.newest(folder)
    assert content is not None
    assert content["number"] == 1
    before.write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"every checkpoint in .* is damaged"):
        files.newest(folder)


def test_what_a_kill_left_half_written_is_no_checkpoint(folder: Path) -> None:
    (folder / CHECKPOINTS / ".new.ckpt.unfinished").write_bytes(b"half")
    newest = files.newest(folder)
    assert newest is not None
    assert newest["number"] == 2
    files.write(folder, content(3), keep=2)
    assert not (folder / CHECKPOINTS / ".new.ckpt.unfinished").exists()


def test_nothing_but_tensors_and_plain_values_is_ever_unpickled(folder: Path) -> None:
    files.write(folder, {"path": Path("x")}, keep=2)
    with pytest.raises(CheckpointError, match="is no checkpoint of this program"):
        files.newest(folder)


@contextmanager
def disk_full_after(size: int) -> Iterator[None]:
    """No file can grow beyond `size` bytes: what writing to a full disk is like."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_leaves_the_checkpoints_as_they_were(folder: Path) -> None:
    before = [path.read_bytes() for path in files.files(folder)]
    with disk_full_after(2000), pytest.raises(CheckpointError, match=r"no checkpoint can be written to .* too large"):
        files.write(folder, content(3), keep=1)
    assert [path.read_bytes() for path in files.files(folder)] == before
    assert not (folder / CHECKPOINTS / ".new.ckpt.unfinished").exists()


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file")
    with pytest.raises(CheckpointError, match=r"no checkpoint can be written to .*run/checkpoints"):
        files.write(tmp_path / "run", content(0), keep=1)


@pytest.mark.parametrize("name", ["fsync", "replace"])
def test_no_room_for_the_last_step_either(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    def no_space(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = {path.name: path.read_bytes() for path in (folder / CHECKPOINTS).iterdir()}
    monkeypatch.setattr(*((run_files.os, name) if name == "fsync" else (Path, name)), no_space)
    with pytest.raises(CheckpointError, match=r"no checkpoint can be written to .*\(No space left on device\)"):
        files.write(folder, content(3), keep=1)
    assert {path.name: path.read_bytes() for path in (folder / CHECKPOINTS).iterdir()} == before


def test_an_old_one_that_cannot_be_removed_is_a_warning_and_the_new_one_counts(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, kept = Path.unlink, files.files(folder)[0].name

    def refuse(path: Path, missing_ok: bool = False) -> None:
        if path.name == kept:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        plain(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.warns(RuntimeWarning, match=rf"{kept} cannot be removed \(Operation not permitted\)"):
        path = files.write(folder, content(3), keep=1)
    assert [one.name for one in files.files(folder)] == [kept, path.name]
    newest = files.newest(folder)
    assert newest is not None
    assert newest["number"] == 3
