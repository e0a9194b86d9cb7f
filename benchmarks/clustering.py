"""Measure time and memory of a clustering round: the figures of docs/clustering.md.

    python benchmarks/clustering.py [--quick] [--runs 5] [--fractions 0.2 0.9 1] [--json FILE]

The table goes to the console and, in Markdown, into a file beside the JSON one. What is compared is measured in turn,
so that a busy machine slows both sides. Weights are N(0, 0.03) in float32 with sigma from the paper's prior; b = 7,
inc = 2, zero_fix, torch.set_num_threads(2), unless the row says otherwise. The rows of real weights need
`pip install ".[real-weights]"`.
"""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
import platform
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # this tree's pwfn, and the oracle of its tests

import torch
from rich.console import Console
from torch import Tensor

from benchmarks.memory import can_be_measured, peak
from benchmarks.rows import Row, markdown
from benchmarks.weights_to_cluster import heavy_tailed_weights, normal_weights, real_weights
from pwfn.clustering.codebooks.codebook import AdditivePow2
from pwfn.clustering.rounds.greedy_round import cluster_round
from tests.support import efficientnet_lite0, oracles

FRACTIONS = (0.2, 0.9, 1.0)
THREADS = 2
OVER_SORT = 0.6  # the largest ratio of a round to torch.sort
QUICK = 0.04  # factor on all numbers of weights
HEAVY_SCALES = (0.3, 1.0)  # of the student-t distribution: some hundreds of centroids


@dataclass(frozen=True)
class Sizes:
    """Say how many weights the rows are measured with."""

    sort: int = 25_500_000
    dense: int = 1_000_000
    growth: tuple[int, int] = (10_000_000, 100_000_000)
    memory: tuple[int, ...] = (25_500_000, 100_000_000)
    heavy: int = 1_000_000

    def scaled(self, factor: float) -> Sizes:
        """Return the same with all numbers multiplied, at least 1000 each."""

        def scale(n: int) -> int:
            return max(1000, round(n * factor))

        small, large = map(scale, self.growth)
        memory = tuple(map(scale, self.memory))
        numbers = {name: scale(getattr(self, name)) for name in ("sort", "dense", "heavy")}
        return replace(self, **numbers, growth=(small, large), memory=memory)


def timed(work: Callable[..., Any], *arguments: Any, **options: Any) -> tuple[float, Any]:
    """Return seconds and result; what earlier measurements left is cleared away before."""
    gc.collect()
    started = time.perf_counter()
    result = work(*arguments, **options)
    return time.perf_counter() - started, result


def against_sort(
    mu: Tensor, sigma: Tensor, fractions: Sequence[float], runs: int, what: str = "round over torch.sort"
) -> list[Row]:
    """Compare a round with sorting the same weights once."""
    rows = [Row(what, count(mu), f, OVER_SORT) for f in fractions]
    for _ in range(runs):
        for row in rows:
            sort, _ = timed(torch.sort, mu)
            seconds, _ = timed(cluster_round, mu, sigma, fraction=row.fraction)
            row.add(seconds / sort, round=seconds, sort=sort)
    return rows


def against_dense(mu: Tensor, sigma: Tensor, fractions: Sequence[float], runs: int) -> list[Row]:
    """Compare time and outcome with the dense oracle (float64, one run for each fraction)."""
    rows = []
    wide_mu, wide_sigma = mu.double().numpy(), sigma.double().numpy()
    settings = {"threshold": 1.0, "inc": 2.0, "b": 7, "max_order": 4, "zero_fix": True, "rule": "std_mu"}
    for fraction in fractions:
        speed = Row("dense oracle over round", count(mu), fraction, 100, at_least=True)
        differ = Row("weights that differ from it", count(mu), fraction, 0)
        dense, expected = timed(oracles.cluster_round, wide_mu, wide_sigma, fraction=fraction, **settings)
        for _ in range(runs):
            seconds, result = timed(cluster_round, mu, sigma, fraction=fraction)
            speed.add(dense / seconds, round=seconds, dense=dense)
            differ.add(float((result.mu.double().numpy() != expected[0]).sum()))
        rows += [speed, differ]
    return rows


def growth(mu: Tensor, sigma: Tensor, sizes: tuple[int, int], fractions: Sequence[float], runs: int) -> list[Row]:
    """Compare the seconds per weight at two sizes."""
    small, large = sizes
    what = f"{count(large)} over {count(small)}"
    rows = [Row("growth of seconds per weight", what, f, 1.2) for f in fractions]
    for _ in range(runs):
        for row in rows:
            few, _ = timed(cluster_round, mu[:small], sigma[:small], fraction=row.fraction)
            many, _ = timed(cluster_round, mu[:large], sigma[:large], fraction=row.fraction)
            row.add((many / large) / (few / small), small=few, large=many)
    return rows


def heavy_tails(n: int, runs: int) -> list[Row]:
    """Compare student-t weights with b = 5 with the normal case."""
    rows = []
    normal = normal_weights(n)
    for scale in HEAVY_SCALES:
        heavy = heavy_tailed_weights(n, scale)
        centroids = cluster_round(*heavy, fraction=1.0, codebook=AdditivePow2(5)).codebook.numel()
        row = Row(f"{scale:g} x student-t(3), b=5, {centroids} centroids", count(n), 1.0, 3.0)
        for _ in range(runs):
            baseline, _ = timed(cluster_round, *normal, fraction=1.0)
            seconds, _ = timed(cluster_round, *heavy, fraction=1.0, codebook=AdditivePow2(5))
            row.add(seconds / baseline, heavy=seconds, normal=baseline)
        rows.append(row)
    return rows


def memory(sizes: Sequence[int], fractions: Sequence[float], runs: int) -> list[Row]:
    """Measure the peak above mu and sigma in fresh processes; the result alone is 1.5 times as large."""
    rows = [Row("peak extra memory over mu and sigma", count(n), f, 2.0) for n in sizes for f in fractions]
    for row, n in zip(rows, (n for n in sizes for _ in fractions), strict=True):
        for _ in range(runs):
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                row.add(pool.apply(peak_extra_bytes, (n, row.fraction)) / (8 * n))
    return rows


def peak_extra_bytes(n: int, fraction: float) -> float:
    """Return by how many bytes a round raises this process's memory at its peak."""
    torch.set_num_threads(THREADS)
    mu, sigma = normal_weights(n)
    cluster_round(mu[:1000], sigma[:1000], fraction=fraction)  # loads the code: that is not memory for the weights
    return peak(lambda: cluster_round(mu, sigma, fraction=fraction))["bytes"]


def count(n: int | Tensor) -> str:
    """Return a number of weights as a table shows it."""
    n = n.numel() if isinstance(n, Tensor) else n
    return f"{n / 1e6:.4g} M" if n >= 1e6 else f"{n:,}"


def measure(sizes: Sizes, fractions: Sequence[float], runs: int, console: Console) -> list[Row]:
    """Measure all rows."""
    rows: list[Row] = []
    with console.status("making weights") as status:
        mu, sigma = normal_weights(max(sizes.sort, sizes.dense, *sizes.growth))
        cluster_round(mu[:1000], sigma[:1000], fraction=1.0)
        status.update("against torch.sort")
        rows += against_sort(mu[: sizes.sort], sigma[: sizes.sort], fractions, runs)
        status.update("against the dense oracle")
        rows += against_dense(mu[: sizes.dense], sigma[: sizes.dense], fractions, runs)
        status.update("growth")
        rows += growth(mu, sigma, sizes.growth, fractions, runs)
        del mu, sigma
        status.update("memory")
        if can_be_measured():
            rows += memory(sizes.memory, fractions, runs)
        else:
            console.print("memory is not measured: that takes Linux")
        status.update("heavy tails")
        rows += heavy_tails(sizes.heavy, runs)
        status.update("real weights")
        if efficientnet_lite0.installed():
            rows += against_sort(*real_weights(), fractions, runs, "EfficientNet-Lite0 over torch.sort")
        else:
            console.print("real weights are not measured: they are not installed", highlight=False)
    return rows


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description="Speed and memory of clustering rounds, against what they must reach.")
    parser.add_argument("--runs", type=int, default=5, help="measurements per row, of which the median counts")
    parser.add_argument(
        "--quick", action="store_true", help=f"{QUICK:g} of the weights; the bounds are for all of them"
    )
    parser.add_argument(
        "--fractions", type=float, nargs="+", default=FRACTIONS, help="what rounds fix, above 0 up to 1"
    )
    parser.add_argument("--memory-weights", type=int, nargs="+", help="numbers of weights for the rows of memory")
    parser.add_argument("--scale", type=float, default=1.0, help="a further factor on the numbers of weights")
    parser.add_argument(
        "--json", type=Path, default=Path("outputs/benchmark_clustering.json"), help="file to write, .md beside it"
    )
    options = parser.parse_args()
    if options.runs < 1 or not 0 < options.scale <= 1:
        parser.error("--runs must be at least 1, and --scale above 0 and at most 1")
    torch.set_num_threads(THREADS)
    scale = options.scale * (QUICK if options.quick else 1)
    sizes = Sizes().scaled(scale)
    if options.memory_weights:
        sizes = replace(sizes, memory=tuple(options.memory_weights))
    started, console = time.perf_counter(), Console()
    rows = measure(sizes, options.fractions, options.runs, console)
    table = markdown(rows)
    if scale < 1:
        console.print("The bounds are for the full numbers of weights: with fewer of them a row may well fail.\n")
    console.print(table, soft_wrap=True, markup=False, highlight=False)
    settings = {
        "runs": options.runs,
        "threads": THREADS,
        "weights": vars(sizes),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "seconds": time.perf_counter() - started,
    }
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps({"settings": settings, "rows": [row.record() for row in rows]}, indent=2) + "\n")
    options.json.with_suffix(".md").write_text(table)
    console.print(f"median of {options.runs}; every single time is in {options.json}", highlight=False)


if __name__ == "__main__":
    main()
