"""Measure what each logger costs a run of ResNet-50's size: `python benchmarks/logger_cost.py`.

Each logger gets a process of its own, in which nothing is trained: 200 rows of a training step and three rounds of
25.5 million weights, with the histograms and the picture that are made for it. The memory is the growth of the
process's peak, measured after the weights and the first view exist, so that only the logger counts; beside it stands
the peak of the processes that the logger has started.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

LOGGERS = ("none", "csv", "tensorboard", "wandb", "several", "trackio", "mlflow")
WEIGHTS = 25_502_912  # ResNet-50's quantized weights
VALUES, ROUNDS, STEPS, EVERY = 200, 3, 200, 50


def peak_mb() -> float:
    """Return the most memory that this process has held, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def helpers_mb() -> float:
    """Return the most memory that the processes started by this one have held, in MB."""
    children = [pid for task in Path("/proc/self/task").glob("*/children") for pid in task.read_text().split()]
    states = [Path(f"/proc/{pid}/status").read_text().splitlines() for pid in children]
    return sum(int(line.split()[1]) for state in states for line in state if line.startswith("VmHWM")) / 1024


def measure(name: str, folder: Path) -> dict[str, float]:
    """Log with one logger; seconds of a row of a step, of a round, and of the view made for it."""
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # this tree's pwfn
    import pytorch_lightning.loggers  # noqa: F401  (a run has it in any case)
    import torch
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    from pwfn.config import build, program, resolvers
    from pwfn.monitoring.loggers.round_media import round_view
    from pwfn.monitoring.loggers.spec import LoggerSpec, run_logger
    from pwfn.records.metric_names import STEP
    from pwfn.records.rounds import CLUSTER_COLUMNS, COLUMNS

    resolvers.register()
    with initialize_config_dir(version_base="1.3", config_dir=str(program.conf_folder())):
        node: Any = OmegaConf.to_container(compose("train", [f"logger={name}"]).logger)
    torch.manual_seed(0)
    start = torch.randn(WEIGHTS) / 50
    sigma = torch.rand(WEIGHTS) / 1000
    result: Any = SimpleNamespace(mu=start.round(decimals=2), sigma=sigma)
    keys = [key for key in CLUSTER_COLUMNS if key != "round"]
    clusters = [dict.fromkeys(keys, 1) | {"value": float(i), "order": i % 4} for i in range(VALUES)]
    round_view(start, result, clusters)  # what is loaded for the first one is not the logger's
    before = peak_mb()
    spec = build.build(LoggerSpec, node)  # type: ignore[type-abstract]
    logger = spec.build(config={"seed": 0}, name="cost", folder=folder, group=None, run_id="0123abcd")
    told = run_logger(logger)
    told.start_rounds(COLUMNS)
    rows, rounds, views = [], [], []
    for step in range(STEPS):
        began = time.perf_counter()
        if logger is not None:
            logger.log_metrics(dict.fromkeys(STEP, 0.5), step=step)
        rows.append(time.perf_counter() - began)
    for number in range(ROUNDS):
        began = time.perf_counter()
        view = round_view(start, result, clusters) if told.takes_pictures else None
        made = time.perf_counter()
        told.report_round(dict.fromkeys(COLUMNS, 0.5) | {"round": number, "steps": STEPS + number}, view)
        rounds.append(time.perf_counter() - made)
        views.append(made - began)
    grown, helpers = peak_mb() - before, helpers_mb()
    spec.close(logger, 0)
    middle = statistics.median
    return {
        "row_ms": 1000 * middle(rows),
        "view_s": middle(views),
        "round_ms": 1000 * middle(rounds),
        "memory_mb": grown,
        "helpers_mb": helpers,
    }


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--logger", choices=LOGGERS, help="measure this one, in this process")
    parser.add_argument("--step-ms", type=float, default=100.0, help="of a training step, for the share")
    arguments = parser.parse_args()
    if arguments.logger:
        print(json.dumps(measure(arguments.logger, Path.cwd())))
        return
    print(f"{'logger':12} {'row ms':>8} {'of a step':>10} {'view s':>8} {'round ms':>9} {'MB':>6} {'helpers':>8}")
    for name in LOGGERS:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, str(Path(__file__).resolve()), "--logger", name]
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode:
            print(f"{name:12} {done.stderr.strip().splitlines()[-1]}")
            continue
        found = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("{")))
        share = found["row_ms"] / EVERY / arguments.step_ms
        print(
            f"{name:12} {found['row_ms']:8.2f} {100 * share:8.3f} % {found['view_s']:8.2f} {found['round_ms']:9.1f} "
            f"{found['memory_mb']:6.0f} {found['helpers_mb']:8.0f}"
        )


if __name__ == "__main__":
    main()
