"""Measure what an ensemble of n draws costs beside n passes of one network over the same images.

    python benchmarks/ensemble.py [--quick] [--rounds 7] [--json outputs/benchmark_ensemble.json]

Passes at the mean and ensembles alternate, so that a busy machine slows both; the ratio is the median time of an
ensemble over n times that of a pass. The images are few, which makes the drawing of the networks weigh more than in an
evaluation of a whole test set.
"""

from __future__ import annotations

import argparse
import json
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
from rich.console import Console
from rich.table import Table

from pwfn.bayesian.posterior import set_sigma, to_bayesian
from pwfn.bayesian.prior import Pow2DistancePrior
from pwfn.evaluation.predict import predict, predict_draws
from pwfn.models.precision import Computing

THREADS = 2
SAMPLES = 5
LIMIT = 1.05


@dataclass(frozen=True)
class Case:
    """Pair a network with its images."""

    model: str
    pixels: int
    images: int
    batch: int


CASES = (Case("deit_tiny_patch16_224", 224, 64, 16), Case("resnet18", 224, 64, 16), Case("resnet18", 64, 256, 64))
QUICK = (Case("test_resnet", 64, 32, 16),)


def seconds(action: Callable[[], object]) -> float:
    """Return the seconds that an action takes."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def measure(case: Case, rounds: int) -> dict[str, Any]:
    """Measure passes and ensembles, `rounds` times in turn."""
    torch.manual_seed(0)
    network = timm.create_model(case.model, num_classes=1000)
    to_bayesian(network)
    set_sigma(network, Pow2DistancePrior())
    images = torch.randn(case.images, 3, case.pixels, case.pixels).split(case.batch)
    on = Computing(torch.device("cpu"), "32-true")
    actions: dict[str, Callable[[], object]] = {
        "pass": lambda: predict(network, images, on),
        "ensemble": lambda: predict_draws(network, images, on, samples=SAMPLES, seed=0),
    }
    times: dict[str, list[float]] = {name: [] for name in actions}
    for number in range(rounds + 1):
        for name, action in actions.items():
            duration = seconds(action)
            if number:  # the first is to warm up
                times[name].append(duration)
    middle = {name: statistics.median(values) for name, values in times.items()}
    ratio = middle["ensemble"] / (SAMPLES * middle["pass"])
    return {**vars(case), "ratio": ratio, "median_seconds": middle, "seconds": times, "ok": ratio <= LIMIT}


def table(results: list[dict[str, Any]]) -> Table:
    """Make the table of ratios of time."""
    shown = Table(title=f"An ensemble of {SAMPLES} over {SAMPLES} passes", title_justify="left")
    for heading in ("model", "pixels", "images", "pass ms", "ratio", "must", ""):
        shown.add_column(heading)
    for one in results:
        case = (one["model"], str(one["pixels"]), str(one["images"]), f"{1000 * one['median_seconds']['pass']:.0f}")
        shown.add_row(*case, f"{one['ratio']:.3f}", f"<= {LIMIT:g}", "ok" if one["ok"] else "MISSED")
    return shown


def main() -> None:
    """Run all cases, print the table and write every time to a file."""
    parser = argparse.ArgumentParser(description="What an ensemble of n draws costs beside n passes.")
    parser.add_argument("--quick", action="store_true", help="one small network, to see that it works")
    parser.add_argument("--rounds", type=int, default=7, help="measured passes, and ensembles")
    parser.add_argument("--json", type=Path, default=Path("outputs/benchmark_ensemble.json"))
    options = parser.parse_args()
    torch.set_num_threads(THREADS)
    results = [measure(case, options.rounds) for case in (QUICK if options.quick else CASES)]
    console = Console(width=120)
    console.print(table(results))
    options.json.parent.mkdir(parents=True, exist_ok=True)
    machine = {"machine": platform.machine(), "torch": torch.__version__, "threads": THREADS, "samples": SAMPLES}
    options.json.write_text(json.dumps({**machine, "results": results}, indent=1) + "\n", encoding="utf-8")
    console.print(f"All times are in {options.json}.")


if __name__ == "__main__":
    main()
