"""An offline run calls nobody.

What this sees: every connection and look-up of the Python process (by an audit hook), and every HTTP or HTTPS request
of W&B's helper process, a Go program that honors the proxy variables (a listener here stands in for the proxy). What it
cannot see: a helper that looked names up or connected around the proxy; that would take a tracer.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.project import clean_environment

WATCH = """
import json, socket, sys
calls = []
def watch(event, arguments):
    if event in ("socket.getaddrinfo", "socket.gethostbyname"):
        calls.append(str(arguments[0]))
    elif event in ("socket.connect", "socket.sendto") and arguments[0].family != socket.AF_UNIX:
        calls.append(str(arguments[-1][0]))
sys.addaudithook(watch)
"""
OFFLINE_RUN = """
from pathlib import Path
import numpy as np
from pwfn.monitoring.loggers.spec import run_logger
from pwfn.monitoring.wandb.spec import Wandb
from pwfn.monitoring.loggers.round_media import Histogram, RoundView
folder = Path(sys.argv[1])
spec = Wandb(save_dir=str(folder))
logger = spec.build(config={"seed": 0}, name="n", folder=folder, group="g")
told = run_logger(logger)
told.start_rounds(["round", "entropy_bits"])
logger.log_metrics({"train/loss": 0.5}, step=1)
bars = Histogram([1, 2], [0.0, 1.0, 2.0])
view = RoundView({"histogram/mu": bars}, [], np.zeros((4, 5, 3), np.uint8))
told.report_round({"round": 0, "entropy_bits": 3.0}, view)
(folder / "model.pwfn").write_bytes(b"weights")
told.report_artifact(folder / "model.pwfn", {"weights": 2})
spec.close(logger, 0)
"""
ONE_CALL = 'socket.create_connection(("127.0.0.1", int(sys.argv[2]))).close()'


@contextmanager
def trap() -> Iterator[tuple[int, list[bytes]]]:
    """A listener at a port of this machine, and the first bytes of whatever it was sent."""
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def listen() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:  # closed
                    return
                with connection:
                    connection.settimeout(5)
                    heard.append(connection.recv(200))

        threading.Thread(target=listen, daemon=True).start()
        yield server.getsockname()[1], heard
        server.shutdown(socket.SHUT_RDWR)


def calls_of(program: str, folder: Path, **environment: str) -> tuple[list[str], list[bytes]]:
    """Whom the process called, and what its helper sent to the proxy."""
    with trap() as (port, heard):
        proxy = f"http://127.0.0.1:{port}"
        names = ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")
        folders = dict.fromkeys(("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"), str(folder))
        done = subprocess.run(
            [sys.executable, "-c", f"{WATCH}{program}\nprint(json.dumps(calls))", str(folder), str(port)],
            env=clean_environment(
                **dict.fromkeys(names, proxy), no_proxy="", NO_PROXY="", **folders, **environment, WANDB_SILENT="true"
            ),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]), heard


@pytest.mark.slow
def test_an_offline_run_with_everything_in_it_calls_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_ERROR_REPORTING", raising=False)
    called, heard = calls_of(OFFLINE_RUN, tmp_path)
    assert (set(called) - {"127.0.0.1", "localhost"}, heard) == (set(), [])
    assert list(tmp_path.glob("wandb/offline-run-*/run-*.wandb"))


@pytest.mark.slow
def test_both_traps_catch_what_they_are_there_for(tmp_path: Path) -> None:
    """With its own setting W&B wants to reach its server even in this run, and the process is seen to connect."""
    called, heard = calls_of(OFFLINE_RUN + ONE_CALL, tmp_path, WANDB_ERROR_REPORTING="true")
    assert set(called) == {"127.0.0.1"}
    assert any(request.startswith(b"CONNECT ") for request in heard)
