"""Cut passes over all weights into chunks whose temporaries stay in a core's cache."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

CHUNK = 1 << 16  # elements: a handful of float64 temporaries of this size stay in a core's cache


def chunks(n: int) -> list[slice]:
    """Return slices that cover n elements in order."""
    return [slice(start, min(start + CHUNK, n)) for start in range(0, n, CHUNK)]


@contextmanager
def in_one_thread() -> Iterator[None]:
    """Keep torch's operations on the CPU in the calling thread.

    A chunk takes dozens of operations of a few microseconds. Shared out to several threads, each would end with all of
    them waiting for the slowest: little is gained on an idle machine, and on a busy one a round takes many times
    longer.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
