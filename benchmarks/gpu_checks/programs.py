"""Measure whole runs of the program: throughput, resuming, several GPUs."""

from __future__ import annotations

import csv
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch

from benchmarks.gpu_checks.plan import PROGRAM, PROJECT, Case, Plan, Row
from benchmarks.gpu_checks.steps import built, seconds


def run(folder: Path, plan: Plan, *overrides: str) -> None:
    """Run train.py; its output is shown where it fails."""
    command = [sys.executable, str(PROJECT / "train.py"), *plan.trainer, *overrides, f"hydra.run.dir={folder}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: exit code {done.returncode}\n{(done.stdout + done.stderr)[-2000:]}")


def images_per_second(folder: Path) -> float:
    """Read the median of the rows of a run's CSV logger; the first is left out."""
    with next(folder.glob("training/*/metrics.csv")).open() as file:
        rows = [row.get("train/images_per_second") for row in csv.DictReader(file)]
    values = [float(value) for value in rows if value]
    return statistics.median(values[1:] or values)


def throughput(plan: Plan) -> Iterator[Row]:
    """Compare the program, its loaders and loggers included, with a loop of the same step."""
    overrides = dict(override.split("=", 1) for override in plan.program)
    pixels, batch = int(overrides["data.image_size"]), int(overrides["data.batch_size"])
    model = overrides["model"]
    precision = overrides.get("trainer.precision", "32-true")
    step = built(Case(model, pixels, batch), plan, precision, 0.0)
    for _ in range(3):
        step()
    loop = batch / statistics.median(seconds(step, plan) for _ in range(plan.blocks))
    with tempfile.TemporaryDirectory() as scratch:
        run(Path(scratch) / "run", plan, *PROGRAM, *plan.program)
        program = images_per_second(Path(scratch) / "run")
    note = f"{program:.0f} of {loop:.0f} images a second"
    yield Row("train.py over a loop", model, program / loop, 0.95, at_most=False, counts=not plan.smoke, note=note)


def resume(plan: Plan) -> Iterator[Row]:
    """Kill runs and compare what they end with once they are resumed."""
    command = [sys.executable, str(PROJECT / "benchmarks/kill_and_resume.py"), "--kills", str(plan.kills)]
    environment = os.environ | {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
    done = subprocess.run(
        [*command, *plan.trainer, "trainer.deterministic=true"],
        capture_output=True, text=True, check=False, env=environment,
    )  # fmt: skip
    note = (done.stdout + done.stderr).strip().splitlines()[-1:]
    yield Row("resumed runs that differ", f"{plan.kills} kills", float(done.returncode), 0.0, note=" ".join(note))


def several(plan: Plan) -> Iterator[Row]:
    """Compare a step of two GPUs with one of one; the program itself compares the ranks by hash."""
    if plan.smoke or torch.cuda.device_count() < 2:
        return
    rates = []
    with tempfile.TemporaryDirectory() as scratch:
        for count, trainer in ((1, ()), (2, ("trainer=ddp", "trainer.devices=2"))):
            folder = Path(scratch) / str(count)
            run(folder, plan, *PROGRAM, *plan.program, *trainer)
            rates.append(images_per_second(folder) / count)
    yield Row("step of two GPUs over one's", "resnet50", rates[0] / rates[1], 1.10)
