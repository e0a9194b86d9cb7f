"""Keep a sweep's plan, written before its first job starts, and its lock.

`sweep.json` is all that is needed to go on with a sweep that was ended, by whatever. The process that works in the
folder holds the lock `.lock`, and so does each of its jobs: a job that outlives a killed sweep keeps a second one away.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from hydra.errors import CompactHydraException

from pwfn.records.files import PLAN, write_text
from pwfn.sweep.job import Job

SWEEP = "PWFN_SWEEP"  # the variable that tells a job the name of its sweep
_LOCK = ".lock"
_VERSION = 1
_PATIENCE = 60.0  # seconds for the jobs of a killed sweep to finish their step and save
_KEYS = {"version": int, "arguments": list, "folder": str, "started": str, "jobs": list}


class SweepError(CompactHydraException):
    """End a sweep or search with exit code 1 and one line, which Hydra prints without a traceback."""


def name_of(sweep: Path) -> str:
    """Return a sweep's name, the group of its runs: its folder's, with that of the day it is in."""
    return "/".join(sweep.absolute().parts[-2:])


def read_plan(sweep: Path) -> dict[str, Any]:
    """Read the plan of the sweep in folder `sweep`; SweepError says why there is none."""
    path = sweep / PLAN
    try:
        plan = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SweepError(f"it has no {PLAN}" if sweep.is_dir() else "there is no such folder") from None
    except (OSError, ValueError) as error:
        raise SweepError(f"{path} cannot be read: {error}") from None
    if not isinstance(plan, dict) or any(not isinstance(plan.get(key), kind) for key, kind in _KEYS.items()):
        raise SweepError(f"{path} is no plan of a sweep")
    if plan["version"] != _VERSION:
        raise SweepError(f"{path} is of version {plan['version']}, this program knows {_VERSION}")
    return plan


def write_plan(sweep: Path, jobs: Sequence[Job], work: Mapping[int, Any], earlier: dict[str, Any] | None) -> None:
    """Save the plan of a sweep.

    Args:
        sweep: its folder.
        jobs: to write, in place of those of the same number in `earlier`.
        work: what each job is expected to take, by its number.
        earlier: the plan that is resumed; None for a new sweep.
    """
    rows = {row["job"]: row for row in earlier["jobs"]} if earlier else {}
    for job in jobs:
        folder = os.path.relpath(job.folder, sweep)
        row = {"job": job.number, "folder": folder, "overrides": job.overrides, "expected": work[job.number]}
        rows[job.number] = row
    plan = earlier or {
        "version": _VERSION,
        "arguments": sys.argv[1:],
        "folder": os.getcwd(),  # what the arguments name may be relative to it
        "started": datetime.now().astimezone().isoformat("T", "seconds"),
    }
    plan = {**plan, "jobs": [rows[number] for number in sorted(rows)]}
    write_text(sweep / PLAN, json.dumps(plan, indent=1) + "\n")


def refuse_other_plan(plan: dict[str, Any], jobs: Sequence[Job]) -> None:
    """Raise SweepError where a job to be resumed has other overrides than when it was planned."""
    planned = {row["job"]: row["overrides"] for row in plan["jobs"]}
    for job in jobs:
        if planned.get(job.number, job.overrides) != job.overrides:
            was, now = " ".join(planned[job.number]), " ".join(job.overrides)
            raise SweepError(
                f"pwfn: job {job.number} was {was!r} when the sweep was planned and would now be {now!r}: "
                "a file of the configuration has changed since"
            )


def lock(sweep: Path) -> int:
    """Lock folder `sweep` for this process and all who inherit the returned descriptor.

    Raises:
        SweepError: another process holds it.
    """
    import fcntl  # not on Windows, where Hydra would complain of this module at every start

    sweep.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(sweep / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    until, told = time.monotonic() + _PATIENCE, False
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                break  # a file system that knows no locks
            owner = os.pread(descriptor, 200, 0).decode(errors="replace").split()
            if _lives(owner) or time.monotonic() > until:
                os.close(descriptor)
                who = f"process {owner[1]} on {owner[0]}" if len(owner) == 2 else "another process"
                raise SweepError(f"pwfn: the sweep in {sweep} is still running ({who}, or a job of it)") from None
            if not told:
                told = True
                print("pwfn: waiting for jobs of the ended sweep to save and stop", flush=True)
            time.sleep(0.2)
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{socket.gethostname()} {os.getpid()}".encode(), 0)
    return descriptor


def _lives(owner: list[str]) -> bool:
    """Return whether the owner of the lock is known to live; not known of another machine."""
    if len(owner) != 2 or owner[0] != socket.gethostname() or not owner[1].isdigit():
        return False
    try:
        os.kill(int(owner[1]), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
