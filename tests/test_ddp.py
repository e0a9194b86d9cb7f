"""Two processes on the CPU: one run, the same network on both ranks, and noise of its own on each."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pwfn.record import read_records
from tests.conftest import PROJECT, SMALL, Program
from tests.evaluation import measured
from tests.wandb_offline import find_runs, read_run

# train.py, watched from outside: what each rank draws in training, and the network it ends with
WATCHED = f"""
import hashlib, json, os, sys
from pathlib import Path
sys.path.insert(0, {str(PROJECT)!r})
import hydra, torch
from pwfn import resolvers, task
import pwfn.run as runs
from pwfn.module import BayesianClassifier

drawn, plain_step, plain_run = [], BayesianClassifier.training_step, runs.run

def digest(tensors):
    return hashlib.sha256(b"".join(t.detach().numpy().tobytes() for t in tensors)).hexdigest()

def step(self, batch, index):
    if self.phase.noise:
        drawn.append([torch.get_rng_state().numpy().tobytes().hex()[:4000], digest([batch[0]])])
    return plain_step(self, batch, index)

def run(*args, **options):
    finished = plain_run(*args, **options)
    state = finished.network.state_dict()
    out = {{"drawn": drawn, "network": {{name: digest([value]) for name, value in state.items()}},
           "records": [one.clustered.loss for one in finished.records]}}
    Path(f"rank{{os.environ.get('LOCAL_RANK', '0')}}.json").write_text(json.dumps(out))
    return finished

BayesianClassifier.training_step, runs.run = step, run

@hydra.main(version_base="1.3", config_path={str(PROJECT / "conf")!r}, config_name="train")
def main(cfg):
    task.train(cfg)

resolvers.register()
main()
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a watched run of two ranks was started; its timeout is what notices a hang."""
    where = tmp_path_factory.mktemp("ddp")
    (where / "watched.py").write_text(WATCHED)
    overrides = [*SMALL, "trainer=ddp_cpu", "logger=wandb", "logger.save_dir=logs", "hydra.run.dir=run"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "WANDB_DATA_DIR": str(where), "WANDB_CACHE_DIR": str(where)}
    done = subprocess.run(
        [sys.executable, "watched.py", *overrides],
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
    assert first["records"] == second["records"]


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
    history = [item for item in read_run(path).history if "round" in item]
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
def test_a_sweep_in_one_process_is_refused(program: Program, tmp_path: Path) -> None:
    done = program(tmp_path, "train.py", "-m", *SMALL, "trainer=ddp_cpu", "seed=0,1", "hydra/launcher=basic")
    assert done.returncode == 2
    fault = "hydra/launcher = 'basic': must be process, or another launcher that gives each job processes of its own"
    assert fault in done.stderr and "Traceback" not in done.stderr
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix in (".json", ".csv", ".pwfn")]


def test_ranks_are_seeded_apart() -> None:
    from pwfn.seeding import seed_rank, seed_run

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
