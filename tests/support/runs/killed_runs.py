"""Start runs of train.py as processes, kill them, and compare what they leave."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.support.project import PROJECT

WALL_TIMES = ("train_seconds", "cluster_seconds")
SAME_FILES = ("network.safetensors", "pretrained.safetensors", "trained.safetensors", "clusters.csv")


def start(folder: Path, overrides: Sequence[str], *, resume: bool = False) -> subprocess.Popen[bytes]:
    """Start train.py in a process session of its own, so that it can be killed with all its ranks."""
    log = (folder.parent / f"{folder.name}.log").open("ab")
    where = [f"resume={folder}"] if resume else [*overrides, f"hydra.run.dir={folder}"]
    command = [sys.executable, str(PROJECT / "train.py"), *where]
    environment = os.environ | {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
    with log:
        return subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)


def kill(process: subprocess.Popen[bytes]) -> bool:
    """Send SIGKILL to all processes of a run; return False if it had ended by itself."""
    if process.poll() is not None:
        return False
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return True


def differences(one: Path, other: Path) -> list[str]:
    """Name what differs between the folders of two finished runs, wall times aside."""
    different = [name for name in SAME_FILES if (one / name).read_bytes() != (other / name).read_bytes()]
    rows, others = (_rows(folder) for folder in (one, other))
    if len(rows) != len(others):
        return [*different, f"{len(rows)} and {len(others)} rounds"]
    for number, (row, another) in enumerate(zip(rows, others, strict=True), start=1):
        different += [f"round {number}: {key}" for key in row if row[key] != another[key]]
    summaries = [json.loads((folder / "summary.json").read_text())["pretrained"] for folder in (one, other)]
    return different + ([] if summaries[0] == summaries[1] else ["pretrained scores"])


def _rows(folder: Path) -> list[dict[str, Any]]:
    rows = json.loads((folder / "rounds.json").read_text())
    return [{key: value for key, value in row.items() if key not in WALL_TIMES} for row in rows]


def finished(process: subprocess.Popen[bytes], folder: Path) -> None:
    if process.wait() != 0:
        raise SystemExit(f"a run failed:\n{(folder.parent / f'{folder.name}.log').read_text()[-3000:]}")
