"""Draws and their gradients in one pass over float32 weights on the CPU, in as many threads as torch uses.

Several tensors go together: one call, and one sharing out over the threads, for what would be a hundred small ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pwfn.bayesian.kernels import numba_cpu, threads

SPANS = 128  # for no more than these it does not pay to call another thread
ENOUGH = 2 * SPANS * numba_cpu.SPAN  # weights that keep two threads busy


def knows(tensor: Tensor) -> bool:
    """Whether a tensor is of the kind that the kernels work on."""
    return tensor.device.type == "cpu" and tensor.dtype == torch.float32


def fill_normal(out: Tensor, key: int, number: int) -> None:
    """Put the noise of tensor `number` under `key` (64 bits) into `out`, which is contiguous."""
    _run(numba_cpu.fill, [_Row(number, out)], key)


@dataclass(frozen=True)
class Piece:
    """One tensor to draw: its number under the key, its mask of free weights (None: all), and the regularizer's pull."""

    number: int
    mu: Tensor
    sigma: Tensor
    free: Tensor | None
    retrained: bool  # whether backward reaches the sigmas of fixed weights
    strength: float
    ceiling: float


def draw(pieces: Sequence[Piece], key: int) -> tuple[list[Tensor], float]:
    """`mu + max(sigma, 2^-30) * eps` of each piece, and the penalty of all.

    That is the sum of `strength / 2 * relu(ceiling - sigma)^2 * |eps|` over the free weights.
    """
    rows = [_Row(p.number, _like(p.mu), p.mu, p.sigma, p.free, ceiling=p.ceiling) for p in pieces]
    gaps = _run(numba_cpu.draw, rows, key)
    return [row.out for row in rows], sum(p.strength / 2 * gap for p, gap in zip(pieces, gaps, strict=True))


def gradients(
    pieces: Sequence[Piece], grads: Sequence[Tensor], ours: Sequence[bool], scale: float, key: int
) -> tuple[list[Tensor], list[Tensor]]:
    """Of mu and sigma, for those of the drawn weights and `scale`, that of the penalty.

    They are `grad`, and `grad * eps - scale * strength * gap * |eps|`, where `gap` is `relu(ceiling - sigma)`. What follows
    from `grad` is 0 for mu where a weight is fixed, for sigma there too unless retrained, and below 2^-30; the pull is 0
    where a weight is fixed. Of `ours` those of mu are the contiguous `grads` themselves, masked in place.
    """
    rows = []
    for piece, given, mine in zip(pieces, grads, ours, strict=True):
        grad = given.contiguous()
        if grad is given and not mine and piece.free is not None:
            grad = grad.clone()
        tensors = _like(piece.sigma), grad, piece.sigma, piece.free
        rows.append(_Row(piece.number, *tensors, piece.retrained, piece.ceiling, scale * piece.strength))
    _run(numba_cpu.gradients, rows, key)
    return [row.given for row in rows if row.given is not None], [row.out for row in rows]


def add_masked(tensors: Sequence[tuple[Tensor, Tensor, Tensor]], factor: float) -> None:
    """`total += factor * values` in the mask `free`, in place, for each `(total, values, free)`; totals are contiguous."""
    rows = [_Row(0, total, values, free=free, pull=factor) for total, values, free in tensors]
    if rows:
        _run(numba_cpu.add_masked, rows)


def _like(tensor: Tensor) -> Tensor:
    return torch.empty_like(tensor, memory_format=torch.contiguous_format)


class _Row(NamedTuple):
    """A row of `cpu_kernels.ROW`; its tensors are of one size, `out` is contiguous."""

    number: int
    out: Tensor
    given: Tensor | None = None
    sigma: Tensor | None = None
    free: Tensor | None = None
    retrained: bool = False
    ceiling: float = 0.0
    pull: float = 0.0


def _run(kernel: Callable[..., None], rows: Sequence[_Row], key: int = 0) -> list[float]:
    """Run a kernel over tensors; the sums that it made of each, if any."""
    # copies, where there must be any, are kept as long as their addresses are used
    flat = [[None if t is None else t.contiguous() for t in row[2:5]] for row in rows]
    first = list(accumulate((-(-row.out.numel() // numba_cpu.SPAN) for row in rows), initial=0))
    spans, sums = first[-1], np.zeros(first[-1])
    entries = []
    for row, tensors, start in zip(rows, flat, first, strict=False):
        if not row.out.is_contiguous():
            raise ValueError("what the kernels write to must be contiguous")
        addresses = [0 if tensor is None else tensor.data_ptr() for tensor in (row.out, *tensors)]
        entries.append((row.number, row.out.numel(), start, *addresses, *row[5:]))
    table = np.array(entries, numba_cpu.ROW)
    job = np.array((0, spans, len(rows), table.ctypes.data, sums.ctypes.data, key), numba_cpu.JOB)
    # all threads or one: OpenMP ends those that a smaller team has no use for, and torch has to start them again
    wanted = torch.get_num_threads() if spans > SPANS else 1
    threads.run(numba_cpu.compiled(kernel), job.ctypes.data, wanted)
    return [float(sums[start:stop].sum()) for start, stop in pairwise(first)]
