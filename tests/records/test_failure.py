"""Why a run ended: one line in failure.json, which a run that goes on takes away."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from pwfn.records import failure, files


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)


def test_a_reason_comes_back_as_one_line(tmp_path: Path) -> None:
    failure.write(tmp_path, "first\nsecond " + "x" * 400)
    reason = failure.read(tmp_path)
    assert reason is not None
    assert reason.startswith("first second xxx")
    assert len(reason) < 320


def test_a_run_that_goes_on_forgets_it(tmp_path: Path) -> None:
    failure.write(tmp_path, "reason")
    failure.forget(tmp_path)
    assert failure.read(tmp_path) is None
    failure.forget(tmp_path)  # nothing to forget


@pytest.mark.parametrize("name", ["RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "SLURM_PROCID"])
def test_another_rank_leaves_what_rank_0_has_just_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("LOCAL_RANK", "0")
    monkeypatch.setenv(name, "1")
    failure.write(tmp_path, "reason")
    failure.forget(tmp_path)
    assert failure.read(tmp_path) == "reason"


def test_a_full_disk_does_not_hide_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_space(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files.os, "fsync", no_space)
    with pytest.warns(RuntimeWarning, match="No space left on device"):
        failure.write(tmp_path, "reason")
    assert list(tmp_path.iterdir()) == []
