"""Measure how much memory a piece of work takes at its peak, as the kernel counts it (Linux)."""

from __future__ import annotations

import ctypes
import gc
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def can_be_measured() -> bool:
    """Return whether the kernel lets this process reset its peak."""
    return os.access(CLEAR, os.W_OK)


def peak(task: Callable[[], Any]) -> dict[str, float]:
    """Return the seconds of `task`, and the bytes at its peak above those held before."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what was freed before is given back, or the task could use it unseen
    before = _resident("VmRSS")
    CLEAR.write_text("5")  # the peak counts from now on
    started = time.perf_counter()
    kept = task()
    seconds = time.perf_counter() - started
    needed = _resident("VmHWM") - before
    del kept
    return {"seconds": seconds, "bytes": needed}


def _resident(key: str) -> int:
    """Return bytes: VmRSS now, VmHWM at the peak."""
    return next(int(line.split()[1]) * 1024 for line in STATUS.read_text().splitlines() if line.startswith(f"{key}:"))
