"""W&B's own agent starts our runs from conf/wandb_sweep.yaml."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from scripts.wandb_sweep_job import TRAIN, command
from tests.support.loggers.wandb_server import ENTITY, wandb_server
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


@pytest.mark.slow
def test_the_agent_runs_a_job_that_reports_to_the_sweep(tmp_path: Path) -> None:
    sweep = described()
    given = {key: {"value": value} for key, value in VALUES.items()}
    with wandb_server() as server:
        server.sweep_config = sweep | {
            "command": [*sweep["command"][:3], *SMALL, *sweep["command"][3:], "logger=wandb"]
        }  # type: ignore[index]
        program = str(PROJECT / str(sweep["program"]))
        server.agent_commands = [{"type": "run", "run_id": "r1", "program": program, "args": given}]
        environment = clean_environment(**server.environment(tmp_path / "home"), PATH=f"{Path(sys.executable).parent}")
        done = subprocess.run(
            [sys.executable, "-m", "wandb", "agent", "--forward-signals", f"{ENTITY}/pwfn/s1"],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        (run,) = server.runs.values()
    assert done.returncode == 0, done.stderr
    assert (run.name, run.about["sweep"], run.exit_code) == ("r1", "s1", 0)
    assert {key: run.values[key] for key in VALUES if "." in key} == {key: VALUES[key] for key in VALUES if "." in key}
    assert (run.values["codebook"]["b"], run.values["optimizer"]["lr"]) == (6, 0.003)
    assert [row["round"] for row in run.rows if "clustered/top1" in row] == [0, 1]
    assert (tmp_path / "wandb_sweeps" / "s1" / "r1" / "model.pwfn").is_file()
