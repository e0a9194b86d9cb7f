"""A sweep that was ended, by whatever, goes on: what is done is not done again, what failed is tried again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from pwfn.sweep.resume import is_asked, resumed_arguments
from tests.support.project import PROJECT, SMALL, clean_environment
from tests.support.runs import toy_sweep
from tests.support.runs.toy_sweep import jobs, started, sweep

pytestmark = pytest.mark.slow

RESUME = "hydra.launcher.resume=true"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return toy_sweep.make(tmp_path)


def test_failed_and_killed_jobs_do_not_stop_the_others_and_are_tried_again(folder: Path) -> None:
    done = sweep(folder, "x=0,1,2,3", FAIL="1", KILL="2")
    assert done.returncode == 1
    assert "2 of 4 jobs failed" in done.stderr
    assert started(folder) == [0, 1, 2, 3]
    found = {job["job"]: (job["status"], job["reason"], job["exit_code"]) for job in jobs(folder)}
    assert found[1] == ("failed", "no luck", 3)
    assert found[2] == ("failed", "killed by SIGKILL (out of memory?)", -9)
    assert [job["job"] for job in jobs(folder)] == [0, 3, 1, 2]
    assert done.stdout.splitlines()[-2:] == ["Next:", "  resume it   python train.py -m resume_sweep=sweep"]

    other = sweep(folder, "x=0,1,2,4", RESUME)
    assert other.returncode == 1
    assert "job 3 was 'x=3' when the sweep was planned and would now be 'x=4'" in other.stderr
    assert len(jobs(folder)) == 4  # the table is as it was
    again = sweep(folder, "x=0,1,2,3", RESUME)
    assert again.returncode == 0, again.stderr
    assert started(folder) == [1, 2]
    assert "4 jobs, 1 at a time, 2 finished before" in again.stdout
    assert "; 3 done, 1 to go" in again.stdout  # of four, with those of the first time
    assert {job["status"] for job in jobs(folder)} == {"done"}


def test_a_killed_sweep_ends_with_the_table_it_would_have_ended_with(folder: Path) -> None:
    assert sweep(folder, "x=0,1,2", "hydra.launcher.n_jobs=1", KILL_SWEEP="1").returncode == -9
    assert [job["status"] for job in jobs(folder)] == ["done", "not finished", "not finished"]
    used = sweep(folder, "x=0,1,2")
    assert used.returncode == 1
    assert f"go on with it (-m resume_sweep={folder / 'sweep'})" in used.stderr
    assert started(folder) == [0, 1]
    again = sweep(folder, "x=0,1,2", "resume=auto")  # the same command with it is as good as resume_sweep=
    assert again.returncode == 0, again.stderr
    assert started(folder) == [1, 2]
    after = jobs(folder)
    (folder / "sweep").rename(folder / "earlier")
    assert sweep(folder, "x=0,1,2", "resume=auto").returncode == 0
    assert jobs(folder) == after


def test_a_job_that_outlived_its_sweep_keeps_the_next_one_waiting(folder: Path) -> None:
    """The toy does not watch its parent, as train.py does."""
    assert sweep(folder, "x=0,1", LINGER="0", SECONDS="4").returncode == -9
    again = sweep(folder, "x=0,1", RESUME)
    assert again.returncode == 0, again.stderr
    assert "waiting for jobs of the ended sweep" in again.stdout
    assert started(folder) == [0, 1]  # it has ended well by then


def test_a_sweep_that_runs_is_not_gone_on_with(folder: Path) -> None:
    assert sweep(folder, "x=0,1", FAIL="1").returncode == 1
    from pwfn.sweep.folder import lock

    descriptor = lock(folder / "sweep")
    try:
        refused = sweep(folder, "x=0,1", RESUME)
    finally:
        os.close(descriptor)
    assert refused.returncode == 1
    assert f"still running (process {os.getpid()} on " in refused.stderr


def planned(folder: Path, **changes: object) -> Path:
    plan = {"version": 1, "arguments": ["-m", "seed=0,1"], "folder": str(folder), "started": "", "jobs": []} | changes
    (folder / "sweep.json").write_text(json.dumps(plan))
    return folder


def test_the_command_line_of_the_sweep_is_given_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(PROJECT)
    assert is_asked(["-m", "resume_sweep=x"])
    assert not is_asked(["-m", "name=resume_sweep", "resume=x"])
    asked = resumed_arguments(["-m", f"resume_sweep={planned(tmp_path)}", "hydra.launcher.n_jobs=2"])
    own = [f"hydra.sweep.dir='{tmp_path}'", "hydra.launcher.resume=true"]
    assert asked == ["-m", "seed=0,1", "hydra.launcher.n_jobs=2", *own]
    assert Path.cwd() == tmp_path


@pytest.mark.parametrize(
    ("more", "fault"),
    [
        (["-m", "seed=3"], "must be alone, but for -m and hydra.launcher.n_jobs: seed=3 cannot be changed"),
        (["-m", "seed=3", "hydra.sweep.dir=x"], "seed=3 hydra.sweep.dir=x cannot be changed"),
        ([], "must be with -m; a single run goes on with resume=<folder>"),
    ],
)
def test_anything_else_beside_it_is_refused(
    tmp_path: Path, more: list[str], fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fault in refused(capsys, f"resume_sweep={planned(tmp_path)}", *more)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (None, "(it has no sweep.json)"),
        ("{", "sweep.json cannot be read"),
        ("[]", "is no plan of a sweep"),
        ('{"version": 1}', "is no plan of a sweep"),
    ],
)
def test_a_folder_without_a_plan(
    tmp_path: Path, content: str | None, fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        (tmp_path / "sweep.json").write_text(content)
    assert fault in refused(capsys, "-m", f"resume_sweep={tmp_path}")
    assert "there is no such folder" in refused(capsys, "-m", f"resume_sweep={tmp_path / 'none'}")
    assert "is of version 2" in refused(capsys, "-m", f"resume_sweep={planned(tmp_path, version=2)}")


def refused(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    with pytest.raises(SystemExit) as stop:
        resumed_arguments(list(argv))
    said = capsys.readouterr().err
    assert stop.value.code == 2
    assert len(said.splitlines()) == 2
    return said.splitlines()[1]


def until(found: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < end
        time.sleep(0.05)


def children(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for path in listed for child in path.read_text().split()]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="looks up processes in /proc")
def test_a_real_sweep_whose_job_and_launcher_are_killed_ends_as_if_nothing_had_been(small_run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    overrides = ["pretrain.epochs=2", "checkpoint.every_steps=1", "schedule.rest_epochs=30"]
    command = [sys.executable, str(PROJECT / "train.py"), "-m"]
    threads = str(torch.get_num_threads())  # as here, or sums are rounded differently
    environment = clean_environment(COLUMNS="200", OMP_NUM_THREADS=threads)
    asked = [*SMALL, *overrides, "seed=0,1", "hydra.sweep.dir=sweep"]
    running = subprocess.Popen([*command, *asked], cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL)
    for number in (0, 1):
        checkpoints = tmp_path / f"sweep/{number}_seed-{number}/checkpoints"
        until(lambda checkpoints=checkpoints: len(list(checkpoints.glob("*.ckpt"))) > 1)  # type: ignore[misc]
        if number == 1:
            running.kill()  # its job is left alone: it saves and stops
        else:
            (job,) = children(running.pid)
            os.kill(job, signal.SIGKILL)
    running.wait()
    until(lambda: (checkpoints.parent / "failure.json").is_file())
    assert json.loads((checkpoints.parent / "failure.json").read_text()) == {"reason": "stopped by SIGTERM"}
    statuses = {entry["job"]: entry["status"] for entry in json.loads((tmp_path / "sweep/jobs.json").read_text())}
    assert statuses == {0: "failed", 1: "not finished"}

    again = [*command, "resume_sweep=sweep"]
    done = subprocess.run(
        again, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("from its last checkpoint") == 2
    for entry in json.loads((tmp_path / "sweep/jobs.json").read_text()):
        finished = small_run(tmp_path / f"whole{entry['job']}", *overrides, f"seed={entry['job']}")
        last = finished.records[-1]
        whole = last.flat() | {"top1_change": last.clustered.top1 - finished.baseline.top1}
        assert entry["status"] == "done"
        assert entry["reason"] is None
        left = tmp_path / "sweep" / entry["folder"]
        assert entry["summary"].pop("artifact_mb") == (left / "model.pwfn").stat().st_size / 1e6
        assert entry["summary"] == {key: whole[key] for key in entry["summary"]}
        assert not (left / "failure.json").exists()
        assert not (left / "checkpoints").exists()
        assert (left / "model.pwfn").is_file()
        assert not list(left.glob("*.safetensors"))  # runs of a sweep keep their result alone
