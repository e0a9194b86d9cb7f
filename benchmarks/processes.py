"""Two processes against one with the same number of images per step: the results must agree within the noise of seeds.

    python benchmarks/processes.py [--seeds 5] [overrides of train.py ...]

Runs a small network on real digits, seed after seed: once as one process with 64 images per step, once as two (gloo)
with 32 each, in turn. Prints mean and standard deviation of the final figures, and the difference of the means in
standard errors. What differs by construction: each rank draws its own noise, and BatchNorm sees the images of its rank.
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

from benchmarks.kill_and_resume import finished, start

DIGITS = ["model=test_resnet", "data=digits", "schedule=quick", "optimizer=sgd_small_data", "logger=none", "quiet=true"]
PROCESSES = {1: ["data.batch_size=64"], 2: ["data.batch_size=32", "trainer=ddp_cpu", "trainer.devices=2"]}
FIGURES = ("trained/top1", "clustered/top1", "clustered/loss", "codebook_size", "entropy_bits", "sigma_mean")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("overrides", nargs="*")
    args = parser.parse_args()
    if args.seeds < 2:
        parser.error("--seeds must be at least 2: the noise of seeds is what is compared with")
    rows: dict[int, list[dict[str, float]]] = {processes: [] for processes in PROCESSES}
    with tempfile.TemporaryDirectory() as scratch:
        for seed in range(args.seeds):
            for processes, overrides in PROCESSES.items():
                folder = Path(scratch) / f"{processes}_{seed}"
                finished(start(folder, [*DIGITS, *overrides, f"seed={seed}", *args.overrides]), folder)
                summary = json.loads((folder / "summary.json").read_text())
                rows[processes].append({key: summary["final"][key] for key in FIGURES})
                print(f"seed {seed}, {processes} process(es): {rows[processes][-1]}", flush=True)
    for key in FIGURES:
        print(_line(key, *([row[key] for row in rows[processes]] for processes in PROCESSES)))


def _line(key: str, one: list[float], two: list[float]) -> str:
    means, spreads = zip(*((statistics.mean(values), statistics.stdev(values)) for values in (one, two)), strict=True)
    error = math.sqrt((spreads[0] ** 2 + spreads[1] ** 2) / len(one))
    apart = abs(means[0] - means[1]) / error if error else math.inf if means[0] != means[1] else 0.0
    sides = ", ".join(
        f"{n} process(es) {mean:.5g} ± {spread:.2g}" for n, mean, spread in zip(PROCESSES, means, spreads, strict=True)
    )
    return f"{key}: {sides}; {apart:.1f} standard errors apart"


if __name__ == "__main__":
    main()
