"""Bytes that a piece of work takes at its peak above what the process held before, as the kernel counts them (Linux)."""

from __future__ import annotations

import ctypes
import gc
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def peak_bytes(task: Callable[[], Any]) -> int:
    if not os.access(CLEAR, os.W_OK):
        pytest.skip("the peak of memory cannot be measured here: /proc/self/clear_refs is not writable")
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    before = _held("VmRSS")
    CLEAR.write_text("5")
    task()
    return _held("VmHWM") - before


def _held(key: str) -> int:
    return next(int(line.split()[1]) * 1024 for line in STATUS.read_text().splitlines() if line.startswith(f"{key}:"))
