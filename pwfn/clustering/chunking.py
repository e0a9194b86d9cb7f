"""How a pass over all weights is cut: into chunks that stay in a core's cache, on a GPU into a few large pieces."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

CHUNK = 1 << 16  # elements: a handful of float64 temporaries of this size stay in a core's cache
CPU = torch.device("cpu")
MOST_PIECES = 16  # on a GPU, where a pass may wait for the device once per piece: a bound that does not grow with N


def chunks(n: int, device: torch.device = CPU) -> list[slice]:
    """Slices that cover n elements in order."""
    size = CHUNK if device.type == "cpu" else max(CHUNK, -(-n // MOST_PIECES))
    return [slice(i, min(i + size, n)) for i in range(0, n, size)]


@contextmanager
def in_one_thread() -> Iterator[None]:
    """Keep torch's operations on the CPU in the calling thread.

    A chunk takes dozens of operations of a few microseconds. Shared out to several threads, each would end with all of
    them waiting for the slowest: little is gained on an idle machine, and on a busy one a round takes many times longer.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def count_codes(histogram: Tensor, codes: Tensor) -> None:
    """Add to `histogram` (int64), in place, how often each of its indices occurs in `codes` (any integer dtype)."""
    if codes.device.type == "cpu" and 8 * histogram.numel() <= codes.numel():
        histogram += torch.bincount(codes, minlength=histogram.numel())
    else:  # one more table for each chunk would cost more than the chunk; and on a GPU bincount waits for the device
        index = codes.to(torch.int64)
        histogram.scatter_add_(0, index, torch.ones_like(index))


def look_up(table: Tensor, index: Tensor) -> Tensor:
    """`table[index]`, for int32 or int64 index; on the CPU several times faster than indexing."""
    return table.index_select(0, index)
