"""Keep in failure.json why a run ended early, in one line, for the table of a sweep and for reports."""

from __future__ import annotations

import json
import os
import time
import warnings
from pathlib import Path

from pwfn.errors import one_line
from pwfn.records.files import write_text

FILE = "failure.json"
_LONGEST = 300  # characters; some libraries say pages
# where launchers (Lightning's own, torchrun, SLURM) say which process of a run this is; known before Lightning is
_RANKS = ("RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "SLURM_PROCID")


def write(folder: Path, reason: str) -> None:
    """Write `reason` to the run's folder; a full disk, which must not hide it, is a RuntimeWarning."""
    line = one_line(reason, _LONGEST)
    try:
        write_text(folder / FILE, json.dumps({"reason": line}, indent=1) + "\n")
    except OSError as error:
        warnings.warn(f"{folder / FILE} cannot be written ({error})", RuntimeWarning, stacklevel=2)


def read(folder: Path) -> str | None:
    """Read the reason, None where there is none that can be read."""
    try:
        found = json.loads((folder / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    reason = found.get("reason") if isinstance(found, dict) else None
    return reason if isinstance(reason, str) else None


def awaited(folder: Path, seconds: float = 5.0) -> str | None:
    """Wait up to `seconds` for the reason that another process is about to write; None without one."""
    end = time.monotonic() + seconds
    while (reason := read(folder)) is None and time.monotonic() < end:
        time.sleep(0.1)
    return reason


def forget(folder: Path) -> None:
    """Remove what an earlier attempt has left: a run that begins or is resumed has not failed yet.

    On rank 0 alone: the other ranks begin later, when there may be a new reason.
    """
    if is_first_process():
        (folder / FILE).unlink(missing_ok=True)


def is_first_process() -> bool:
    """Tell whether this process is rank 0 as far as the launcher's variables say, before Lightning knows."""
    return all(os.environ.get(name, "0") == "0" for name in _RANKS)
