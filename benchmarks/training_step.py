"""Measure a Bayesian training step beside an ordinary one: the figures of docs/training_step.md.

    python benchmarks/training_step.py [--quick] [--steps 9] [--json outputs/benchmark_training_step.json]

Ordinary and Bayesian steps alternate, so that a busy machine slows both; each ratio is the median of one over the
median of the other. Both steps do the same otherwise: cross entropy of random images, backward, clipping at norm 1,
weight decay, SGD with momentum, the ordinary one with torch's defaults, and for comparison with torch's fused SGD,
which Bayesian steps use. `free`: no weight is fixed yet, as in the first round; `fixed`: 90 % are, as in a late one.

Memory: by how much a step raises the peak of a fresh process above what was resident before it, Bayesian less ordinary,
over the bytes of the quantized weights.
"""

from __future__ import annotations

import argparse
import copy
import gc
import json
import multiprocessing
import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # this tree's pwfn

import timm
import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from benchmarks.memory import peak
from pwfn.bayesian.posterior import quantized_tensors, sampled, set_sigma, to_bayesian
from pwfn.bayesian.prior import Pow2DistancePrior
from pwfn.bayesian.regularizer import LinearRegularizer
from pwfn.training.optimizer import SGD, before_step, build_optimizer

THREADS = 2
WARM_UP = 3
FIXED = 0.9
KINDS = ("ordinary", "ordinary, fused", "free", "fixed")
MEMORY_LIMIT = 2.2


@dataclass(frozen=True)
class Case:
    """Pair a network with its images, and the largest allowed ratio."""

    model: str
    pixels: int
    batch: int
    limit: float


CASES = (
    Case("deit_tiny_patch16_224", 224, 8, 1.12),
    Case("resnet18", 224, 8, 1.15),
    Case("resnet18", 64, 32, 1.35),
)
QUICK = (Case("test_resnet", 64, 8, 1.5),)
OPTIMIZER = SGD(lr=1e-4, momentum=0.9, weight_decay=1e-4, clip_norm=1.0)

Step = Callable[[], None]


def ordinary_step(
    model: nn.Module, images: Tensor, labels: Tensor, *, fused: bool | None = None, foreach: bool | None = None
) -> Step:
    """Build a step of an ordinary training, with torch's fused SGD, its foreach SGD, or as torch decides."""
    model.train()
    parameters = list(model.parameters())
    spec = OPTIMIZER
    rates = {"lr": spec.lr, "momentum": spec.momentum, "weight_decay": spec.weight_decay}
    optimizer = torch.optim.SGD(parameters, **rates, fused=fused, foreach=foreach)

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()

    return step


def bayesian_step(model: nn.Module, images: Tensor, labels: Tensor, *, fixed: float) -> Step:
    """Make `model` Bayesian, fix a share of each tensor's weights, and build a step of its training."""
    to_bayesian(model)
    set_sigma(model, Pow2DistancePrior())
    for tensor in quantized_tensors(model):
        chosen = torch.rand(tensor.mu.shape) < fixed
        tensor.gaussian.assignment.masked_fill_(chosen, 0)
    model.train()
    optimizer = build_optimizer(model, OPTIMIZER)

    def step() -> None:
        optimizer.zero_grad()
        with sampled(model, LinearRegularizer()) as penalty:
            loss = F.cross_entropy(model(images), labels) + penalty
        loss.backward()
        before_step(model, OPTIMIZER, optimizer)
        optimizer.step()

    return step


def prepared(kind: str, model: nn.Module, images: Tensor, labels: Tensor) -> Step:
    """Build the step called `kind` in `KINDS`."""
    if kind in ("free", "fixed"):
        return bayesian_step(model, images, labels, fixed=FIXED if kind == "fixed" else 0.0)
    return ordinary_step(model, images, labels, fused=kind == "ordinary, fused")


def random_batch(case: Case) -> tuple[Tensor, Tensor]:
    """Draw images and labels."""
    return torch.randn(case.batch, 3, case.pixels, case.pixels), torch.randint(0, 1000, (case.batch,))


def peak_extra_bytes(case: Case, kind: str) -> tuple[int, int]:
    """Return the peak bytes that a step adds to this process, and the bytes of the quantized weights."""
    torch.set_num_threads(THREADS)
    model = timm.create_model(case.model, num_classes=1000)
    step = prepared(kind, model, *random_batch(case))
    step()  # the optimizer's state is there from then on
    step()
    for parameter in model.parameters():
        parameter.grad = None
    weights = sum(tensor.mu.numel() for tensor in quantized_tensors(model))
    return int(peak(step)["bytes"]), 4 * weights


def memory(case: Case) -> dict[str, Any]:
    """Measure the peak memory of each kind of step in a fresh process."""
    extra = {}
    for kind in ("ordinary", "free", "fixed"):
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            extra[kind], weights = pool.apply(peak_extra_bytes, (case, kind))
    ratios = {kind: (extra[kind] - extra["ordinary"]) / weights for kind in ("free", "fixed")}
    ok = all(ratio <= MEMORY_LIMIT for ratio in ratios.values())
    return {"model": case.model, "pixels": case.pixels, "batch": case.batch, "memory": ratios, "bytes": extra, "ok": ok}


def timed(step: Step) -> float:
    """Return the seconds that a step takes."""
    started = time.perf_counter()
    step()
    return time.perf_counter() - started


def measure(case: Case, steps: int) -> dict[str, Any]:
    """Measure the seconds of each kind of step, `steps` times in turn."""
    torch.manual_seed(0)
    ordinary = timm.create_model(case.model, num_classes=1000)
    images, labels = random_batch(case)
    run = {kind: prepared(kind, copy.deepcopy(ordinary), images, labels) for kind in KINDS}
    seconds: dict[str, list[float]] = {name: [] for name in run}
    for number in range(WARM_UP + steps):
        for name, step in run.items():
            gc.collect()
            duration = timed(step)
            if number >= WARM_UP:
                seconds[name].append(duration)
    middle = {name: statistics.median(values) for name, values in seconds.items()}
    ratios = {name: middle[name] / middle["ordinary"] for name in KINDS[1:]}
    ok = max(ratios["free"], ratios["fixed"]) <= case.limit
    return {**vars(case), "ratio": ratios, "median_seconds": middle, "ok": ok, "seconds": seconds}


def speed_table(results: list[dict[str, Any]]) -> Table:
    """Make the table of ratios of time."""
    shown = Table(title="Bayesian over ordinary training step", title_justify="left")
    for heading in ("model", "pixels", "batch", "ordinary ms", *KINDS[1:], "must", ""):
        shown.add_column(heading)
    for one in results:
        ratios = [f"{one['ratio'][kind]:.3f}" for kind in KINDS[1:]]
        milliseconds = f"{1000 * one['median_seconds']['ordinary']:.0f}"
        case = (one["model"], str(one["pixels"]), str(one["batch"]))
        shown.add_row(*case, milliseconds, *ratios, f"<= {one['limit']:g}", "ok" if one["ok"] else "MISSED")
    return shown


def memory_table(results: list[dict[str, Any]]) -> Table:
    """Make the table of memory."""
    shown = Table(title="Peak memory of a step above the ordinary one's, over the weights", title_justify="left")
    for heading in ("model", "pixels", "batch", "free", "fixed", "must", ""):
        shown.add_column(heading)
    for one in results:
        case = (one["model"], str(one["pixels"]), str(one["batch"]))
        ratios = [f"{one['memory'][kind]:.2f}" for kind in ("free", "fixed")]
        shown.add_row(*case, *ratios, f"<= {MEMORY_LIMIT:g}", "ok" if one["ok"] else "MISSED")
    return shown


def main() -> None:
    """Run all cases, print the tables and write every time to a file."""
    parser = argparse.ArgumentParser(description="What a Bayesian training step costs beside an ordinary one.")
    parser.add_argument("--quick", action="store_true", help="one small network, to see that it works")
    parser.add_argument("--steps", type=int, default=9, help="measured steps of each kind")
    parser.add_argument("--json", type=Path, default=Path("outputs/benchmark_training_step.json"))
    options = parser.parse_args()
    torch.set_num_threads(THREADS)
    cases = QUICK if options.quick else CASES
    results = [measure(case, options.steps) for case in cases]
    peaks = [memory(case) for case in cases]
    console = Console(width=120)
    console.print(speed_table(results))
    console.print(memory_table(peaks))
    options.json.parent.mkdir(parents=True, exist_ok=True)
    machine = {"machine": platform.machine(), "torch": torch.__version__, "threads": THREADS}
    options.json.write_text(json.dumps({**machine, "speed": results, "memory": peaks}, indent=1) + "\n")
    console.print(f"All times are in {options.json}.")


if __name__ == "__main__":
    main()
