"""An evaluation and a report on a disk that is full or read-only: one line, and nothing half written."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from pwfn.cli import evaluate_task
from pwfn.run.start import Finished
from tests.support.full_disk import full_for
from tests.support.project import Compose


def refused(composed: Compose, capsys: pytest.CaptureFixture[str], *overrides: str) -> tuple[object, str]:
    cfg = composed("quiet=true", "samples=0", "resamples=0", *overrides, name="evaluate")
    with pytest.raises(SystemExit) as ended:
        evaluate_task.evaluate(cfg)
    (line,) = capsys.readouterr().err.splitlines()
    return ended.value.code, line


def test_a_full_disk(
    finished_run: Finished,
    composed: Compose,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    of_run = (f"run='{finished_run.folder}'", f"output='{tmp_path}'")
    of_report = (f"report='{finished_run.folder}'", f"output='{tmp_path}'")
    for name, overrides in (("evaluation.json", of_run), ("reliability.png", of_run), ("report.html", of_report)):
        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", full_for(name))
            code, line = refused(composed, capsys, *overrides)
        assert code == 2
        assert line.startswith(f"pwfn: {tmp_path / name} cannot be written")
        assert os.strerror(errno.ENOSPC) in line
        assert not (tmp_path / name).exists()
        assert not list(tmp_path.rglob("*.unfinished"))


def test_a_folder_that_is_read_only_is_told_where_else_to_write(
    finished_run: Finished, composed: Compose, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def read_only(self: Path, *_: Any, **__: Any) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(self))

    monkeypatch.setattr(Path, "mkdir", read_only)
    code, line = refused(composed, capsys, f"run='{finished_run.folder}'")
    assert code == 1
    assert line.startswith(
        f"pwfn: {finished_run.folder / 'evaluation'} cannot be written to ({os.strerror(errno.EROFS)})"
    )
    assert "output=<folder>" in line
