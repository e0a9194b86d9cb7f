"""One writer of a folder at a time; a lock that its process has left behind is none."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pwfn.records.files import NotWritten
from pwfn.records.folder_lock import LOCK, FolderBusy, only_writer
from tests.support.project import PROJECT

HOLDER = """
import sys
from pathlib import Path
from pwfn.records.folder_lock import only_writer
with only_writer(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""

LEAVES_A_CHILD = """
import os, signal, sys
from pathlib import Path
from pwfn.records.folder_lock import only_writer
with only_writer(Path(sys.argv[1])):
    if os.fork():
        print("held", flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    sys.stdin.read()
    os._exit(0)
"""


def holder(folder: Path, program: str = HOLDER) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(folder)],
        cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_process_is_refused_and_touches_nothing(tmp_path: Path) -> None:
    process = holder(tmp_path)
    before = (tmp_path / LOCK).read_bytes()
    with pytest.raises(FolderBusy, match=rf"is written by process {process.pid} on "), only_writer(tmp_path):
        pass
    assert (tmp_path / LOCK).read_bytes() == before
    process.communicate()
    with only_writer(tmp_path):
        assert [path.name for path in tmp_path.iterdir()] == [LOCK]
    assert list(tmp_path.iterdir()) == []


def test_a_lock_whose_process_was_killed_is_no_obstacle(tmp_path: Path) -> None:
    process = holder(tmp_path)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.communicate()
    assert (tmp_path / LOCK).is_file()
    with only_writer(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_blocks_of_one_process_may_nest_and_the_outermost_one_lets_go(tmp_path: Path) -> None:
    with only_writer(tmp_path / "run"):
        with only_writer(tmp_path / "run"):
            pass
        assert (tmp_path / "run" / LOCK).is_file()
    assert tmp_path.is_dir()
    assert not (tmp_path / "run").exists()  # nothing was written into it
    with only_writer(tmp_path / "a" / "run"):
        (tmp_path / "a" / "kept").touch()
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["kept"]


def test_a_child_that_outlives_the_writer_holds_nothing(tmp_path: Path) -> None:
    """As a loader's process does for some seconds after a kill -9."""
    process = holder(tmp_path, LEAVES_A_CHILD)  # the child waits for the end of standard input
    assert process.wait() == -signal.SIGKILL
    with only_writer(tmp_path):
        pass
    process.communicate()


def test_a_file_system_without_locks_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: Any) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "lockf", none)
    with only_writer(tmp_path):
        pass


def test_a_folder_that_cannot_be_written_to_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "run").touch()
    with pytest.raises(NotWritten, match=r"run/.lock cannot be written"), only_writer(tmp_path / "run"):
        pass
