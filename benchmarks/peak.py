"""Peak memory of a piece of work, as the Linux kernel counts it."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable
from pathlib import Path


def peak_of(work: Callable[[], object]) -> int:
    """By how many bytes `work` raises the peak of this process's resident memory above what was resident before it."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # give back what was freed before, or the work could use it unseen
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = _resident("VmRSS")
    result = work()
    peak = _resident("VmHWM")
    del result
    return peak - before


def _resident(key: str) -> int:
    """VmRSS is what is resident now, VmHWM what was at the peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{key}:"))
