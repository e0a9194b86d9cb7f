"""Runs that were interrupted, or are uploaded later, arrive at W&B's server whole."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from pwfn.errors import Stopped
from pwfn.monitoring.run_reporter import RunReporter
from pwfn.records.rounds import COLUMNS
from tests.support.loggers.wandb_api import WandbServer
from tests.support.loggers.wandb_offline import find_runs
from tests.support.loggers.wandb_online import KILLED, Start, assert_all_rounds_arrived, program, rounds_at, rounds_of
from tests.support.project import PROJECT, SMALL


@pytest.mark.slow
def test_a_run_that_is_preempted_goes_on_under_its_id(
    start: Start, server: WandbServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known, add = set(server.runs), RunReporter.add

    def add_and_signal(*args: Any, **options: Any) -> str:
        monkeypatch.undo()
        os.kill(os.getpid(), signal.SIGTERM)
        return add(*args, **options)

    monkeypatch.setattr(RunReporter, "add", add_and_signal)
    with pytest.raises(Stopped):
        start(tmp_path / "run")
    (name,) = set(server.runs) - known
    first = server.runs[name]
    assert (first.preempting, first.exit_code) == (True, 143)
    start(tmp_path / "run", resume=True)
    assert set(server.runs) - known == {name}
    assert (first.starts, first.exit_code) == (2, 0)
    assert_all_rounds_arrived(tmp_path / "run", first)


@pytest.mark.slow
def test_a_run_whose_process_was_killed_goes_on_under_its_id(server: WandbServer, tmp_path: Path) -> None:
    known, options = set(server.runs), ["logger=wandb", "logger.mode=online", "hydra.run.dir=run"]
    done = program(server, tmp_path, "-c", KILLED, str(PROJECT / "train.py"), *SMALL, *options)
    assert done.returncode == -signal.SIGKILL, done.stderr
    (name,) = set(server.runs) - known
    run = server.runs[name]
    assert run.exit_code != 0
    done = program(server, tmp_path, str(PROJECT / "train.py"), "resume=run")
    assert done.returncode == 0, done.stderr
    assert set(server.runs) - known == {name}
    assert (run.starts, run.exit_code) == (2, 0)
    assert_all_rounds_arrived(tmp_path / "run", run)
    assert server.model(name).files == {"model.pwfn": (tmp_path / "run" / "model.pwfn").read_bytes()}


@pytest.mark.slow
def test_an_offline_run_is_uploaded_whole_from_another_folder(
    small_run: Callable[..., Any], server: WandbServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = set(server.runs)
    monkeypatch.delenv("WANDB_DATA_DIR")
    here, there = tmp_path / "here", tmp_path / "there"
    small_run(here / "run", "logger=wandb", f"logger.save_dir={here}", "logger.tags=[later]", "logger.group=g")
    assert set(server.runs) == known
    find_runs(here)
    shutil.move(here, there)
    here.symlink_to(there)  # W&B has noted where tables and artifacts are
    (folder,) = there.glob("wandb/offline-run-*")
    done = program(server, there, "-m", "wandb", "sync", str(folder.relative_to(there)))
    assert done.returncode == 0, done.stderr
    (name,) = set(server.runs) - known
    run = server.runs[name]
    assert_all_rounds_arrived(there / "run", run)
    saved = yaml.safe_load((there / "run" / "config.yaml").read_text())
    assert run.values["optimizer"] == saved["optimizer"]
    assert (run.about["tags"], run.about["groupName"], run.about["jobType"]) == (["later"], "g", "train")
    assert (run.exit_code, run.summary["round"]) == (0, 1)
    assert {"codebook", "clusters"} <= {key for row in run.rows for key in row}
    tables = [
        one for one in server.artifacts.values() if one.about["runName"] == name and "clusters.table.json" in one.files
    ]
    assert len(tables) == 2
    assert server.model(name).files == {"model.pwfn": (there / "run" / "model.pwfn").read_bytes()}


@pytest.mark.slow
def test_of_an_offline_run_that_was_resumed_the_newest_folder_has_all_rounds(
    server: WandbServer, tmp_path: Path
) -> None:
    known, options = set(server.runs), ["logger=wandb", "logger.mode=offline", "hydra.run.dir=run"]
    done = program(server, tmp_path, "-c", KILLED, str(PROJECT / "train.py"), *SMALL, *options)
    assert done.returncode == -signal.SIGKILL, done.stderr
    done = program(server, tmp_path, str(PROJECT / "train.py"), "resume=run")
    assert done.returncode == 0, done.stderr
    assert set(server.runs) == known
    older, newest = sorted(path.relative_to(tmp_path) for path in tmp_path.glob("wandb/offline-run-*"))
    # W&B may stop where the process was killed and leave out the newer folder: it depends on what had been written
    program(server, tmp_path, "-m", "wandb", "sync", str(older), str(newest))
    done = program(server, tmp_path, "-m", "wandb", "sync", str(newest))
    assert done.returncode == 0, done.stderr
    (name,) = set(server.runs) - known
    run = server.runs[name]
    arrived = {row["round"]: {key: row.get(key) for key in COLUMNS} for row in rounds_at(run)}
    assert list(arrived.values()) == rounds_of(tmp_path / "run")
    assert (run.exit_code, run.summary["round"]) == (0, 1)
    assert server.model(name).files == {"model.pwfn": (tmp_path / "run" / "model.pwfn").read_bytes()}
