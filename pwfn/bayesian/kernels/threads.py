"""Compiled code in the threads that torch computes with.

Threads of our own would come late: after each of torch's operations its own go on for some milliseconds waiting for the
next one, and keep their cores busy with that. OpenMP's runtime, where torch has brought its own, can give them other work
to do; elsewhere there is a pool.
"""

from __future__ import annotations

import ctypes
import os
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from pathlib import Path
from typing import Any

import torch


def run(function: Any, address: int, threads: int) -> None:
    """Call a C function of one pointer (of `numba.cfunc`) with `address`, in so many threads at once."""
    team = _team()
    if threads == 1:
        function.ctypes(address)
    elif team is not None:
        team(function.address, address, threads, 0)
    else:
        others = [_pool(threads).submit(function.ctypes, address) for _ in range(threads - 1)]
        try:
            function.ctypes(address)
        finally:  # whatever interrupts this thread, they write to memory that is its caller's
            wait(others)


@cache
def _team() -> Any:
    """`GOMP_parallel(function, pointer, threads, flags)` of the OpenMP runtime that torch has loaded; None without one."""
    paths = sorted((Path(torch.__file__).parent / "lib").glob("lib*omp*"))
    for path in (None, *map(str, paths)):  # None: one that was loaded before, for everything
        try:
            team = ctypes.CDLL(path, mode=os.RTLD_NOW | os.RTLD_NOLOAD).GOMP_parallel
        except (OSError, AttributeError):  # not loaded, or another vendor's
            continue
        team.argtypes, team.restype = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint], None
        return team
    return None


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="pwfn")
