"""Sweeps through submitit: its local executor for real, its SLURM option composed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from pwfn.config import resolvers
from pwfn.config.preflight import preflight
from pwfn.run.settings import TrainSettings
from tests.support.documents import commands_of
from tests.support.project import PROJECT, SMALL, Program

pytest.importorskip("hydra_plugins.hydra_submitit_launcher", reason="the extra slurm is not installed")


@pytest.mark.slow
def test_jobs_of_the_local_executor_are_whole_runs(program: Program, tmp_path: Path) -> None:
    submitit = ("hydra/launcher=submitit_local", "hydra.sweep.dir=sweep")
    done = program(tmp_path, "train.py", "-m", *SMALL, *submitit, "seed=0,1")
    assert done.returncode == 0, done.stderr
    results = [json.loads((tmp_path / f"sweep/{job}_seed-{job}/summary.json").read_text()) for job in "01"]
    assert [result["run"]["seed"] for result in results] == [0, 1]
    assert all(result["final"]["unique_weights"] == result["final"]["codebook_size"] for result in results)


@pytest.mark.slow
def test_ranks_are_not_started_within_a_local_job(program: Program, tmp_path: Path) -> None:
    """Lightning would start them with the command line of submitit."""
    submitit = ("hydra/launcher=submitit_local", "hydra.sweep.dir=sweep", "trainer=ddp_cpu")
    done = program(tmp_path, "train.py", "-m", *SMALL, *submitit, "seed=0,1")
    assert done.returncode != 0
    assert "hydra/launcher = 'submitit_local': must be process" in done.stdout + done.stderr
    assert not list((tmp_path / "sweep").rglob("rounds.json"))


def test_the_preset_has_jobs_that_are_started_again_and_go_on() -> None:
    resolvers.register()
    given = [*SMALL, "hydra/launcher=slurm", "resume=auto"]
    preflight(TrainSettings, PROJECT / "conf", "train", ["-m", *given, "seed=0,1"])
    with initialize_config_dir(version_base="1.3", config_dir=str(PROJECT / "conf")):
        cfg = compose("train", given, return_hydra_config=True)
    assert cfg.resume == "auto"
    assert cfg.hydra.launcher._target_.endswith("SlurmLauncher")
    assert cfg.hydra.launcher.max_num_timeout > 0


@pytest.mark.slow
def test_the_documented_slurm_sweep_passes_every_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (command,) = [c for c in commands_of(PROJECT / "docs/scaling.md") if "hydra/launcher=slurm" in c]
    resolvers.register()
    arguments = [f"data.root={tmp_path}" if a.startswith("data.root=") else a for a in command[2:]]
    preflight(TrainSettings, PROJECT / "conf", "train", arguments)
    assert capsys.readouterr().err == ""
    with pytest.raises(SystemExit):
        preflight(TrainSettings, PROJECT / "conf", "train", [*arguments, "hydra.launcher.gpus_per_nod=1"])
    assert "gpus_per_nod" in capsys.readouterr().err
