"""Where things are, the options of small runs, and the environment of a program of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from omegaconf import DictConfig

PROJECT = Path(__file__).parents[2]
CONF = PROJECT / "conf"
RECORDED = PROJECT / "tests" / "recorded"  # by earlier versions, and by the research code
PROGRAMS = PROJECT / "tests" / "support" / "programs"  # started by tests in processes of their own
SMALL = [
    "experiment=smoke",
    "quiet=true",
    "logger=none",
    "report=false",
    "data.train_size=64",
    "data.test_size=60",
    "data.noise=0.5",
    "pretrain.epochs=1",
    "pretrain.optimizer.lr=0.01",
    "schedule.fractions=[0.6,1.0]",
]
SMOKE = [
    "experiment=smoke",
    "data.noise=0.5",
    "data.train_size=200",
    "data.test_size=150",
    "hydra.run.dir=run",
    "logger.save_dir=logs",
]


def clean_environment(**more: str) -> dict[str, str]:
    """For a program of its own: one thread, and not the W&B helper process of this one, which has another folder."""
    kept = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}
    return {**kept, "OMP_NUM_THREADS": "1", **more}


Compose = Callable[..., DictConfig]
Program = Callable[..., "subprocess.CompletedProcess[str]"]


def run_code(code: str) -> subprocess.CompletedProcess[str]:
    """Run Python code in a process of its own, which has imported nothing yet, in the project's folder."""
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=PROJECT,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
