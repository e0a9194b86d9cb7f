"""Two processes on the CPU: one run, the same network on both ranks, and noise of its own on each."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from pwfn.checkpoint import files
from pwfn.config import build
from pwfn.records.rounds import read_records
from pwfn.run.settings import TrainSettings
from pwfn.run.start import run
from tests.support.evaluation import measured
from tests.support.loggers.wandb_offline import find_runs, read_run
from tests.support.project import PROGRAMS, SMALL, Compose, Program, clean_environment
from tests.support.runs import killed_runs

pytestmark = pytest.mark.multiprocess

# a test set that two ranks cannot share evenly; fits of which each trains only some of the parameters
OF_TWO = [
    *SMALL,
    "trainer=ddp_cpu",
    "data.test_size=61",
    "data.eval_batch_size=8",
    "schedule.training=alternate",
    "tolerance=fisher",  # all that looks at training images outside of fits, or has a network besides
    "distillation=pretrained",
    "finish=unquantised",
    "finish.batchnorm_images=16",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a watched run of two ranks was started; its timeout is what notices a hang."""
    where = tmp_path_factory.mktemp("ddp")
    overrides = [*OF_TWO, "logger=wandb", "logger.save_dir=logs", "hydra.run.dir=run"]
    environment = clean_environment(WANDB_DATA_DIR=str(where), WANDB_CACHE_DIR=str(where))
    done = subprocess.run(
        [sys.executable, str(PROGRAMS / "watched_ranks.py"), *overrides],
        cwd=where, env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return where


def ranks(folder: Path) -> list[dict[str, Any]]:
    return [json.loads((folder / f"rank{rank}.json").read_text()) for rank in (0, 1)]


@pytest.mark.slow
def test_both_ranks_end_with_the_same_network(folder: Path) -> None:
    first, second = ranks(folder)
    assert first["network"] == second["network"]  # BatchNorm's statistics included
    assert len(first["network"]) > 20
    assert first["losses"] == second["losses"]


@pytest.mark.slow
def test_no_buffer_is_broadcast_at_a_forward_pass(folder: Path) -> None:
    assert [rank["broadcasts"] for rank in ranks(folder)] == [[False], [False]]


@pytest.mark.slow
def test_each_rank_draws_its_own_noise_and_never_twice_the_same(folder: Path) -> None:
    first, second = (rank["drawn"] for rank in ranks(folder))
    assert len(first) == len(second) == 2  # two rounds; an epoch is 64 images, in batches of 32, over two ranks
    states = [state for state, _ in first + second]
    assert len(set(states)) == len(states)
    assert all(images != others for (_, images), (_, others) in zip(first, second, strict=True))


@pytest.mark.slow
def test_one_folder_and_one_wandb_run(folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} >= {"run", "logs"}
    assert not {"outputs", "multirun"} & {path.name for path in folder.iterdir()}
    (path,) = find_runs(folder / "logs")
    history = [item for item in read_run(path).history if "clustered/loss" in item]
    rows = json.loads((folder / "run/rounds.json").read_text())
    assert [item["clustered/loss"] for item in history] == [row["clustered/loss"] for row in rows]
    assert json.loads((folder / "run/summary.json").read_text())["run"]["processes"] == 2


@pytest.mark.slow
def test_the_run_of_two_is_evaluated_by_one_to_the_same_scores(folder: Path) -> None:
    """Both ranks tested the very network that was saved."""
    recorded = read_records(folder / "run")[-1].clustered
    again = measured(run=str(folder / "run")).at_mean["clustered"]
    assert again.top1 == recorded.top1
    assert again.loss == pytest.approx(recorded.loss, rel=1e-6)


@pytest.mark.slow
def test_two_jobs_of_a_sweep_at_a_time_have_ports_of_their_own(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also within an allocation, whose variables would give both the same one, and one process each."""
    for name in ("SLURM_NTASKS", "SLURM_JOB_ID", "SLURM_PROCID", "MASTER_PORT"):
        monkeypatch.setenv(name, "1")
    small = ("trainer=ddp_cpu", "pretrain.epochs=0", "schedule.fractions=[1.0]")
    done = program(
        tmp_path, "train.py", "-m", *SMALL, *small, "seed=0,1", "hydra.launcher.n_jobs=2", "hydra.sweep.dir=sweep"
    )
    assert done.returncode == 0, done.stderr
    for job in ("0_seed-0", "1_seed-1"):
        assert json.loads((tmp_path / "sweep" / job / "summary.json").read_text())["run"]["processes"] == 2


@pytest.mark.slow
def test_a_sweep_in_one_process_is_refused(program: Program, tmp_path: Path) -> None:
    done = program(tmp_path, "train.py", "-m", *SMALL, "trainer=ddp_cpu", "seed=0,1", "hydra/launcher=basic")
    assert done.returncode == 2
    fault = "hydra/launcher = 'basic': must be process, or another launcher that gives each job processes of its own"
    assert fault in done.stderr
    assert "Traceback" not in done.stderr
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix in (".json", ".csv", ".pwfn")]


@pytest.mark.slow
def test_killed_and_resumed_two_ranks_end_with_the_same_bits(folder: Path, tmp_path: Path, composed: Compose) -> None:
    again = tmp_path / "run"
    process = killed_runs.start(again, [*OF_TWO, "checkpoint.every_steps=1"])
    while process.poll() is None and len(files.files(again)) < 2:
        time.sleep(0.01)
    assert killed_runs.kill(process)
    shutil.copytree(again, one := tmp_path / "one")
    killed_runs.finished(killed_runs.start(again, [], resume=True), again)
    assert killed_runs.differences(folder / "run", again) == []
    alone = composed(*OF_TWO, "trainer=cpu")  # other bits, but it goes on
    settings = build.load(TrainSettings, alone)
    finished = run(settings, OmegaConf.to_container(alone, resolve=True), one, name="", resume=True)
    assert [record.round for record in finished.records] == [0, 1, 2]
    assert finished.records[-1].fraction == 1


@pytest.mark.slow
def test_a_signal_to_one_rank_in_a_test_or_a_clustering_ends_both_and_nothing_is_lost(
    folder: Path, tmp_path: Path
) -> None:
    again = [*OF_TWO, "resume=auto"]
    for place in ("test", "clustering"):
        done = subprocess.run(
            [sys.executable, str(PROGRAMS / "signalled_ranks.py"), *again, "hydra.run.dir=run"],
            cwd=tmp_path, env=clean_environment(PWFN_TEST_SIGNAL=place), capture_output=True, text=True, timeout=300,
            check=False,
        )  # fmt: skip
        assert done.returncode == 143, done.stderr
        assert "Traceback" not in done.stderr
        assert "pwfn: stopped by SIGTERM; resume with" in done.stderr
    killed_runs.finished(killed_runs.start(tmp_path / "run", again), tmp_path / "run")
    assert killed_runs.differences(folder / "run", tmp_path / "run") == []


def broken(where: Path, fault: str) -> subprocess.CompletedProcess[str]:
    overrides = [*SMALL, "trainer=ddp_cpu", "hydra.run.dir=run"]
    return subprocess.run(
        [sys.executable, str(PROGRAMS / "broken_rank.py"), *overrides],
        cwd=where, env=clean_environment(PWFN_TEST_FAULT=fault), capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip


@pytest.mark.slow
def test_a_failing_rank_ends_the_whole_run_with_its_error(tmp_path: Path) -> None:
    done = broken(tmp_path, "error")
    assert done.returncode != 0
    assert "ValueError: rank 1 is broken" in done.stderr
    assert done.stderr.count("Traceback (most recent call last)") == 1  # that of rank 1; rank 0 adds a line
    assert "pwfn: another process of this run has ended: ValueError: rank 1 is broken" in done.stderr
    assert json.loads((tmp_path / "run/failure.json").read_text()) == {"reason": "ValueError: rank 1 is broken"}
    assert not (tmp_path / "run/result.json").exists()


@pytest.mark.slow
def test_ranks_that_have_drifted_apart_stop_the_run(tmp_path: Path) -> None:
    done = broken(tmp_path, "drift")
    assert done.returncode != 0
    assert "pwfn: after the training of round 1/2, " in done.stderr
    assert "of rank 1 are not those of rank 0" in done.stderr
    assert "Traceback" not in done.stderr


def test_ranks_are_seeded_apart() -> None:
    from pwfn.randomness import seed_rank, seed_run

    def stream() -> tuple[float, float, float]:
        return random.random(), float(np.random.rand()), float(torch.rand(()))

    streams = []
    for seed, rank in ((0, 0), (0, 1), (1, 0), (0, 1)):
        seed_rank(seed, rank)
        streams.append(stream())
    assert streams[1] == streams[3]
    assert all(len({one[kind] for one in streams}) == 3 for kind in range(3))
    seed_run(0)
    assert "PL_GLOBAL_SEED" not in os.environ  # Lightning would put every rank back to it at each fit
