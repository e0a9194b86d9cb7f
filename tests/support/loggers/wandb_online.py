"""Start programs that log to a server, and hold what arrives there against a run's files."""

from __future__ import annotations

import csv
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pwfn.records.rounds import COLUMNS
from tests.support.loggers.wandb_api import WandbServer
from tests.support.loggers.wandb_records import Run
from tests.support.project import clean_environment

KILLED = """
import os, runpy, signal, sys
from pwfn.monitoring.run_reporter import RunReporter
add = RunReporter.add
def add_or_die(self, record, *arguments):
    if record.round == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return add(self, record, *arguments)
RunReporter.add = add_or_die
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
ONLINE = ["logger=wandb", "logger.mode=online", "logger.tags=[paper,a]", "logger.group=g"]
Start = Callable[..., None]


def rounds_of(folder: Path) -> list[dict[str, Any]]:
    with (folder / "rounds.csv").open(newline="") as file:
        return [{key: COLUMNS[key].read(row) for key in row} for row in csv.DictReader(file)]


def rounds_at(run: Run) -> list[dict[str, Any]]:
    """The rows of rounds; those of pictures and tables have the round, too."""
    return [row for row in run.rows if "clustered/top1" in row]


def assert_all_rounds_arrived(folder: Path, run: Run) -> None:
    """Hold the history against rounds.csv."""
    assert [{key: row.get(key) for key in COLUMNS} for row in rounds_at(run)] == rounds_of(folder)


def program(server: WandbServer, folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Start Python in `folder`, with the server as W&B's."""
    environment = clean_environment(**server.environment(folder / "home"), COLUMNS="200")
    return subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
