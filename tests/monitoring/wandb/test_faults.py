"""A server that fails in every way: the run is neither slowed nor ended, and what is missing can be sent later."""

from __future__ import annotations

import io
import re
import shlex
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import wandb
from rich.console import Console

from pwfn.monitoring.loggers.round_media import Histogram, RoundView
from pwfn.monitoring.run_reporter import RunReporter
from pwfn.monitoring.wandb.spec import Wandb
from tests.support.loggers.dashboards import free_port
from tests.support.loggers.wandb_api import WandbServer
from tests.support.loggers.wandb_server import logged_to, wandb_server
from tests.support.project import clean_environment
from tests.support.runs.round_records import BASELINE, cluster, record

pytestmark = pytest.mark.slow
IMPATIENT = {  # W&B's own patience is minutes
    "WANDB_INIT_TIMEOUT": "10",
    "WANDB_FINISH_TIMEOUT": "3",
    "WANDB__FILE_STREAM_TRANSMIT_INTERVAL": "0.2",
    **{f"WANDB__{kind}_RETRY_WAIT_MIN_SECONDS": "0.2" for kind in ("FILE_STREAM", "FILE_TRANSFER", "GRAPHQL")},
    **{f"WANDB__{kind}_RETRY_WAIT_MAX_SECONDS": "0.5" for kind in ("FILE_STREAM", "FILE_TRANSFER", "GRAPHQL")},
}
ROUNDS = 4
CALLS_SECONDS = 5.0  # for all that a run of four rounds says; waiting for slow answers would take 6
Fault = Callable[[str], "int | float | str | None"]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[WandbServer]:
    with wandb_server() as made, logged_to(made, tmp_path / "home", **IMPATIENT):
        yield made


def logged(server: WandbServer, folder: Path, fault: Fault, *, at_start: bool = False) -> tuple[float, list[str]]:
    """Log a run that meets `fault` after its first round, or at once: how long the calls took, and the warnings."""
    spec = Wandb(save_dir=str(folder), mode="online")
    (folder / "model.pwfn").write_bytes(b"weights" * 1000)
    view = RoundView(
        {"histogram/mu": Histogram([1, 2], [0.0, 1.0, 2.0])}, [cluster(0.25)], np.zeros((4, 5, 3), np.uint8)
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if at_start:
            server.fault = fault
        logger = spec.build(config={"seed": 3}, name="first", folder=folder, group=None, run_id="0123abcd")
        reporter = RunReporter(folder / "run", logger, Console(file=io.StringIO()))
        reporter.start(BASELINE)
        reporter.add(record(0), [cluster(0.25)], view)
        time.sleep(0 if at_start else 1)  # until it has arrived
        server.fault = fault
        before = time.perf_counter()
        for index in range(1, ROUNDS):
            logger.log_metrics({"train/loss": 0.5}, step=index)
            reporter.add(record(index), [cluster(0.25)], view)
        reporter.report_artifact(folder / "model.pwfn", {"weights": 7})
        seconds = time.perf_counter() - before
        spec.close(logger, 0)
    return seconds, [str(one.message) for one in caught if "W&B run" in str(one.message)]


def arrived(server: WandbServer) -> list[int]:
    run = server.runs.get("0123abcd")
    return [row["round"] for row in run.rows if "clustered/top1" in row] if run else []


def complete(server: WandbServer, *, tables: bool = True) -> bool:
    models = [one for one in server.artifacts.values() if one.about["artifactTypeName"] == "model" and one.committed]
    sent = any(one.files == {"model.pwfn": b"weights" * 1000} for one in models)
    run = server.runs["0123abcd"]
    found = [row for row in run.rows if "clusters" in row]
    return (
        sent and arrived(server) == list(range(ROUNDS)) and (len(found) == ROUNDS or not tables) and run.exit_code == 0
    )


def synced(server: WandbServer, folder: Path, *commands: str) -> None:
    """Send the rest of a run by the commands that its warning names, or those of the documentation."""
    server.fault = lambda _: None
    wandb.teardown()
    # a run that could not start online has left the folder of the attempt as well
    (path,) = list(folder.glob("wandb/offline-run-*")) or list(folder.glob("wandb/run-*"))
    for command in commands or [f"wandb sync {path}"]:
        done = subprocess.run(
            [sys.executable, "-m", *shlex.split(command)],
            env=clean_environment(),
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-2000:]


def test_a_minute_of_errors_costs_nothing(server: WandbServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_FINISH_TIMEOUT", "120")
    until = time.monotonic() + 60
    seconds, said = logged(server, tmp_path, lambda _: 500 if time.monotonic() < until else None)
    assert seconds < CALLS_SECONDS
    assert said == []
    assert complete(server)


def test_slow_answers_do_not_hold_the_run_up(
    server: WandbServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_FINISH_TIMEOUT", "60")
    seconds, said = logged(server, tmp_path, lambda _: 1.5)
    assert seconds < CALLS_SECONDS
    assert said == []
    assert complete(server)


@pytest.mark.parametrize("fault", [500, "drop", 401, 413, 30.0])
def test_what_a_lost_server_missed_can_be_sent_later(
    fault: int | float | str, server: WandbServer, tmp_path: Path
) -> None:
    began = time.monotonic()
    seconds, said = logged(server, tmp_path, lambda _: fault)
    assert seconds < CALLS_SECONDS
    assert time.monotonic() - began < 60
    assert len(said) == 1
    assert "is not complete at the server" in said[0]
    assert len((tmp_path / "run" / "rounds.csv").read_text().splitlines()) == 1 + ROUNDS
    assert not complete(server)
    synced(server, tmp_path, *re.findall("`(wandb [^`]*)`", said[0]))
    assert complete(server, tables=False)


@pytest.mark.parametrize("fault", [500, 401, 413, "drop", "refused", 30.0])
def test_a_server_that_fails_at_the_start_leaves_an_offline_run(
    fault: int | float | str, server: WandbServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if fault == "refused":
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{free_port()}")
    seconds, said = logged(server, tmp_path, lambda _: fault, at_start=True)
    assert seconds < CALLS_SECONDS
    assert len(said) == 1
    assert "cannot start online" in said[0]
    assert arrived(server) == []
    monkeypatch.setenv("WANDB_BASE_URL", server.url)
    synced(server, tmp_path)
    assert complete(server)
