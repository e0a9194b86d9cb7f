"""Measure by how much loggers slow training: `python benchmarks/logger_slowdown.py --repeats 5`.

Each repetition trains once with each logger, in another order every time, so that a busy machine slows all of them.
What counts is the time of the rounds' training (`train_seconds` in rounds.json) of a run that logs every step, 50 times
as often as by default. `online`: W&B with a server on this machine; `slow`: its every answer takes two seconds.

The first is the base. Beside `none` every other one is slower, since the figures of a row are computed where there is
a logger: take `csv`.

Other work on the machine spreads these times by far more than 1 %. So the share of the training that its thread spends
within `log_metrics` is measured too.
"""

from __future__ import annotations

import argparse
import json
import os
import runpy
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # this tree's pwfn

from tests.support.loggers.wandb_server import wandb_server

ROOT = Path(__file__).resolve().parent.parent

LOGGERS: dict[str, list[str]] = {
    "none": ["logger=none"],
    "csv": ["logger=csv"],
    "tensorboard": ["logger=tensorboard"],
    "wandb": ["logger=wandb", "logger.mode=offline"],
    "online": ["logger=wandb", "logger.mode=online"],
    "slow": ["logger=wandb", "logger.mode=online"],
    "trackio": ["logger=trackio"],
    "mlflow": ["logger=mlflow"],
}
DEFAULT = "csv,tensorboard,wandb,online,slow"
RUN = [
    "pretrain=none",
    "schedule.fractions=[0.5,1.0]",
    "data.train_images=640",
    "data.test_images=60",
    "report=false",
    "quiet=true",
    "trainer.log_every_n_steps=1",
]
SLOW_SECONDS = 2.0


def timed(cls: type, name: str, spent: list[float]) -> None:
    """Have a method of a logger note how long its calls take."""
    method: Callable[..., Any] = getattr(cls, name)

    def call(*args: Any, **kwargs: Any) -> Any:
        began = time.perf_counter()
        try:
            return method(*args, **kwargs)
        finally:
            spent.append(time.perf_counter() - began)

    setattr(cls, name, call)


def train_here(arguments: list[str]) -> None:
    """Be train.py, and note in the file `calls` how long the training thread was within `log_metrics`."""
    from pwfn.monitoring import LoggerSpec

    spent: list[float] = []

    def watched(build: Callable[..., Any]) -> Callable[..., Any]:
        def note(self: Any, **how: Any) -> Any:
            logger = build(self, **how)
            if logger is not None:
                timed(type(logger), "log_metrics", spent)
            return logger

        return note

    for spec in LoggerSpec.__subclasses__():
        spec.build = watched(spec.build)  # type: ignore[method-assign]
    sys.argv = ["train.py", *arguments]
    try:
        runpy.run_path(str(ROOT / "train.py"), run_name="__main__")
    finally:
        Path("calls").write_text(json.dumps(spent))


def measure(name: str, epochs: int) -> tuple[float, float]:
    """Train once; seconds of the training, and the share of them within calls of the logger."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        environment = {key: value for key, value in os.environ.items() if not key.startswith("WANDB_")}
        if name in ("online", "slow"):
            server = stack.enter_context(wandb_server())
            environment |= server.environment(folder / "home")
            if name == "slow":
                server.fault = lambda _: SLOW_SECONDS
        length = [f"schedule.first_epochs={epochs}", f"schedule.rest_epochs={epochs}"]
        command = [sys.executable, __file__, "--train", *RUN, *length, *LOGGERS[name], "hydra.run.dir=run"]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"{name}: {done.stderr.strip()}")
        rounds = json.loads((folder / "run" / "rounds.json").read_text())
        return sum(one["train_seconds"] for one in rounds), sum(json.loads((folder / "calls").read_text()))


def main() -> None:
    """Run what the command line asks for."""
    if sys.argv[1:2] == ["--train"]:
        train_here(sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=5, help="of each of two rounds, ten steps each")
    parser.add_argument(
        "--loggers", default=DEFAULT, help=f"of {','.join(LOGGERS)}; the first is what is compared with"
    )
    given = parser.parse_args()
    names = given.loggers.split(",")
    seconds: dict[str, list[float]] = {name: [] for name in names}
    calls: dict[str, list[float]] = {name: [] for name in names}
    for repeat in range(given.repeats):
        for name in names[repeat % len(names) :] + names[: repeat % len(names)]:
            took, within = measure(name, given.epochs)
            seconds[name].append(took)
            calls[name].append(within / took)
        took_all = ", ".join(f"{name} {seconds[name][-1]:.2f} s" for name in names)
        print(f"repetition {repeat + 1}: {took_all}", flush=True)
    print(f"{'logger':12} {'s':>7} {'spread':>7} {'beside ' + names[0]:>12} {'from':>8} {'to':>8} {'within calls':>13}")
    for name in names:
        ratios = [100 * (mine / base - 1) for mine, base in zip(seconds[name], seconds[names[0]], strict=True)]
        spread = statistics.stdev(seconds[name]) if given.repeats > 1 else 0.0
        print(
            f"{name:12} {statistics.mean(seconds[name]):7.2f} {spread:7.2f} {statistics.mean(ratios):+10.1f} % "
            f"{min(ratios):+6.1f} % {max(ratios):+6.1f} % {100 * statistics.mean(calls[name]):11.3f} %"
        )


if __name__ == "__main__":
    main()
