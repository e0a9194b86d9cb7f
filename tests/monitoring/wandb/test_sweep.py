"""W&B's own agent starts our runs from conf/wandb_sweep.yaml."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts.wandb_sweep_job import TRAIN, command
from tests.support.loggers.wandb_api import WandbServer
from tests.support.loggers.wandb_records import ENTITY, Run
from tests.support.loggers.wandb_server import wandb_server
from tests.support.project import CONF, PROJECT, SMALL, Compose, clean_environment

AGENT = {"WANDB_SWEEP_ID": "s1", "WANDB_RUN_ID": "r1"}
VALUES = {"codebook.b": 6, "optimizer.lr": 0.003, "sigma_join": "divide_by_10"}


def described() -> dict[str, object]:
    found: dict[str, object] = yaml.safe_load((CONF / "wandb_sweep.yaml").read_text())
    return found


def test_each_parameter_is_a_key_of_train(composed: Compose) -> None:
    sweep = described()
    assert set(VALUES) == set(sweep["parameters"])  # type: ignore[call-overload]
    config = composed(*(f"{key}={value}" for key, value in VALUES.items()), *sweep["command"][3:-1])  # type: ignore[index]
    assert (config.codebook.b, config.optimizer.lr, config.logger.mode) == (6, 0.003, "online")
    assert (PROJECT / str(sweep["program"])).is_file()


def test_a_requeued_job_goes_on_where_it_left_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    new = [sys.executable, str(TRAIN), "keep=result", "seed=1", "hydra.run.dir=wandb_sweeps/s1/r1"]
    folder = tmp_path / "wandb_sweeps" / "s1" / "r1"
    assert command(["seed=1"], AGENT) == new
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "config.yaml").touch()
    assert command(["seed=1"], AGENT) == new
    (folder / "checkpoints" / "000001-0123456789abcdef.ckpt").touch()
    assert command(["seed=1"], AGENT) == [sys.executable, str(TRAIN), "resume=wandb_sweeps/s1/r1"]


@contextmanager
def agent(server: WandbServer, folder: Path, *overrides: str) -> Iterator[subprocess.Popen[str]]:
    """Start W&B's agent, to which the server gives one job, r1, that has `overrides` besides."""
    sweep: dict[str, Any] = described()
    command = [*sweep["command"][:3], *SMALL, *overrides, *sweep["command"][3:], "logger=wandb"]
    server.sweep_config = sweep | {"command": command}
    given = {key: {"value": value} for key, value in VALUES.items()}
    server.agent_commands = [{"type": "run", "run_id": "r1", "program": str(PROJECT / sweep["program"]), "args": given}]
    environment = clean_environment(**server.environment(folder / "home"), PATH=f"{Path(sys.executable).parent}")
    line = [sys.executable, "-m", "wandb", "agent", "--forward-signals", f"{ENTITY}/pwfn/s1"]
    with (folder / "agent.log").open("a") as log:
        started = subprocess.Popen(line, cwd=folder, env=environment, stdout=log, stderr=log, text=True)
        try:
            yield started
        finally:
            started.kill()
            started.wait(10)


def rounds(run: Run) -> list[int]:
    return [row["round"] for row in run.rows if "clustered/top1" in row]


@pytest.mark.slow
def test_the_agent_runs_a_job_that_reports_to_the_sweep(tmp_path: Path) -> None:
    with wandb_server() as server, agent(server, tmp_path) as started:
        assert started.wait(280) == 0, (tmp_path / "agent.log").read_text()
        (run,) = server.runs.values()
    assert (run.name, run.about["sweep"], run.exit_code) == ("r1", "s1", 0)
    assert {key: run.values[key] for key in VALUES if "." in key} == {key: VALUES[key] for key in VALUES if "." in key}
    assert (run.values["codebook"]["b"], run.values["optimizer"]["lr"]) == (6, 0.003)
    assert rounds(run) == [0, 1]
    assert (tmp_path / "wandb_sweeps" / "s1" / "r1" / "model.pwfn").is_file()


@pytest.mark.slow
def test_a_job_that_its_agent_was_told_to_end_is_finished_by_another(tmp_path: Path) -> None:
    """The first round is quick, the second is long enough to be in it when the signal comes."""
    more, folder = ("schedule.first_epochs=1", "schedule.rest_epochs=60"), tmp_path / "wandb_sweeps" / "s1" / "r1"
    with wandb_server() as server:
        with agent(server, tmp_path, *more) as first:
            deadline = time.monotonic() + 250
            while not (folder / "rounds.csv").is_file() and time.monotonic() < deadline:
                time.sleep(0.1)
            assert (folder / "rounds.csv").is_file(), (tmp_path / "agent.log").read_text()
            first.send_signal(signal.SIGTERM)
            first.wait(100)
        (run,) = server.runs.values()
        assert (run.preempting, run.exit_code, rounds(run)) == (True, 143, [0]), (tmp_path / "agent.log").read_text()
        with agent(server, tmp_path, *more) as second:
            assert second.wait(280) == 0, (tmp_path / "agent.log").read_text()
        (run,) = server.runs.values()
    assert (run.name, run.starts, run.exit_code, rounds(run)) == ("r1", 2, 0, [0, 1])
    assert "pwfn: resuming the run in wandb_sweeps/s1/r1" in (tmp_path / "agent.log").read_text()
    assert server.model("r1").files == {"model.pwfn": (folder / "model.pwfn").read_bytes()}
