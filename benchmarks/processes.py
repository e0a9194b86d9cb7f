"""Compare two processes with one at the same images per step: they agree within the noise of seeds.

    python benchmarks/processes.py [--seeds 5] [overrides of train.py ...]

Runs a small network on real digits, seed after seed and in turn: as one process with 64 images per step, as
one that puts two batches of 32 together for each step, and as two processes (gloo) with 32 each. Prints mean
and standard deviation of the final figures, and how far the means are from those of two processes, in
standard errors. What differs by construction: each rank, and each batch of a step, has noise of its own, and
BatchNorm sees the images of its rank or batch.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.support.runs.killed_runs import finished, start

DIGITS = ["model=test_resnet", "data=digits", "schedule=quick", "optimizer=sgd_small_data", "logger=none", "quiet=true"]
HALF = "data.batch_size=32"
WAYS = {
    "one process": ["data.batch_size=64"],
    "one process, two batches a step": [HALF, "trainer.accumulate_grad_batches=2"],
    "two processes": [HALF, "trainer=ddp_cpu", "trainer.devices=2"],
}
FIGURES = ("trained/top1", "clustered/top1", "clustered/loss", "codebook_size", "entropy_bits", "sigma_mean")


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("overrides", nargs="*")
    args = parser.parse_args()
    if args.seeds < 2:
        parser.error("--seeds must be at least 2: the noise of seeds is what is compared with")
    rows: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as scratch:
        for seed in range(args.seeds):
            for number, (way, overrides) in enumerate(WAYS.items()):
                folder = Path(scratch) / f"{number}_{seed}"
                finished(start(folder, [*DIGITS, *overrides, f"seed={seed}", *args.overrides]), folder)
                summary = json.loads((folder / "summary.json").read_text())
                rows[way].append({key: summary["final"][key] for key in FIGURES})
                print(f"seed {seed}, {way}: {rows[way][-1]}", flush=True)
    for key in FIGURES:
        values = {way: [row[key] for row in rows[way]] for way in WAYS}
        *others, last = WAYS
        said = [f"{way} {_spread(values[way])} ({_apart(values[way], values[last]):.1f} apart)" for way in others]
        print(f"{key}: {', '.join(said)}, {last} {_spread(values[last])}")


def _spread(values: list[float]) -> str:
    return f"{statistics.mean(values):.5g} ± {statistics.stdev(values):.2g}"


def _apart(one: list[float], two: list[float]) -> float:
    """Return the difference of the means in standard errors."""
    apart = abs(statistics.mean(one) - statistics.mean(two))
    error = math.sqrt((statistics.variance(one) + statistics.variance(two)) / len(one))
    return apart / error if error else math.inf if apart else 0.0


if __name__ == "__main__":
    main()
