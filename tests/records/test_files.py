"""A file is replaced whole or not at all, and everyone the umask lets may read it."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pwfn.errors import RunError
from pwfn.records import files
from pwfn.records.failure import FILE as FAILURE
from pwfn.records.files import NotWritten, replacing, sync_folder, write_text
from pwfn.report import facts
from pwfn.report.animation import ANIMATION
from tests.support.documents import named_files
from tests.support.project import PROJECT


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def test_the_documents_name_every_file() -> None:
    names = {value for name, value in vars(files).items() if name.isupper() and isinstance(value, str)}
    assert len(names) > 15
    of_a_sweep = {files.PLAN, files.JOBS}
    listed = named_files(PROJECT / "docs/files.md")
    assert {*names, *facts.FILES, FAILURE, ANIMATION} - of_a_sweep - listed == set()
    assert of_a_sweep - named_files(PROJECT / "docs/sweeps.md") == set()


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o007, 0o660)])
def test_a_file_that_a_library_makes_private_gets_what_the_umask_grants(tmp_path: Path, mask: int, mode: int) -> None:
    with umask(mask), replacing(tmp_path / "file") as unfinished:
        unfinished.unlink()
        os.close(os.open(unfinished, os.O_CREAT | os.O_WRONLY, 0o600))
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == mode


def test_a_name_that_depends_on_the_content_is_asked_for_at_the_end(tmp_path: Path) -> None:
    written: list[str] = []
    with replacing(tmp_path / "any", name=lambda: written[0]) as unfinished:
        unfinished.write_text("content")
        written.append("name")
    assert [path.name for path in tmp_path.iterdir()] == ["name"]


def no_space(*_: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_leaves_the_old_file_and_nothing_besides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_text(tmp_path / "file", "old")
    monkeypatch.setattr(files.os, "fsync", no_space)
    with pytest.raises(NotWritten) as error:
        write_text(tmp_path / "file", "new")
    assert isinstance(error.value, RunError)
    assert error.value.errno == errno.ENOSPC
    assert str(error.value) == f"{tmp_path / 'file'} cannot be written (No space left on device)"
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("file", "old")]


def test_an_exception_of_the_writer_itself_passes_and_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> None:
        with replacing(tmp_path / "file") as unfinished:
            unfinished.write_text("half")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP])
def test_a_folder_that_cannot_be_flushed_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(files.os, "fsync", failing(number))
    sync_folder(tmp_path)


def test_a_broken_disk_is_not_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files.os, "fsync", failing(errno.EIO))
    before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").is_dir() else 0
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        sync_folder(tmp_path)
    assert before in (0, len(os.listdir("/proc/self/fd")))


def failing(number: int) -> Callable[[int], None]:
    def fsync(_descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    return fsync


def test_the_new_content_is_on_disk_before_it_takes_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    steps: list[tuple[str, str]] = []
    fsync, rename = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (steps.append(("fsync", path.read_text())), fsync(fd)))
    monkeypatch.setattr(os, "replace", lambda a, b: (steps.append(("rename", path.read_text())), rename(a, b)))
    write_text(path, "new")
    assert steps == [("fsync", "old"), ("rename", "old")]
    assert path.read_text() == "new"
