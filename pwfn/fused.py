"""Draws and their gradients in one pass over float32 weights on the CPU, in as many threads as torch uses."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pwfn import cpu_kernels

SPANS = 128  # for fewer it does not pay to wake another thread


def take(tensor: Tensor) -> bool:
    """Whether a tensor is of the kind that the kernels know."""
    return tensor.device.type == "cpu" and tensor.dtype == torch.float32


def fill_normal(out: Tensor, key: int, number: int) -> None:
    """Put the noise of tensor `number` under `key` (64 bits) into `out`."""
    _share_out(cpu_kernels.fill, out.numel(), np.uint64(key), number, _flat(out))


def draw(mu: Tensor, sigma: Tensor, free: Tensor | None, ceiling: float, key: int, number: int) -> tuple[Tensor, float]:
    """`mu + max(sigma, 2^-30) * eps`, and the sum of `relu(ceiling - sigma)^2 * |eps|` over the free weights."""
    out = torch.empty_like(mu, memory_format=torch.contiguous_format)
    penalties = np.empty(-(-mu.numel() // cpu_kernels.SPAN))
    arrays = _flat(mu), _flat(sigma), _mask(free)
    _share_out(
        cpu_kernels.draw, mu.numel(), np.uint64(key), number, *arrays, np.float32(ceiling), _flat(out), penalties
    )
    return out, float(penalties.sum())


def gradients(
    grad: Tensor,
    sigma: Tensor,
    free: Tensor | None,
    free_sigma: Tensor | None,
    ceiling: float,
    pull: float,
    key: int,
    number: int,
) -> tuple[Tensor, Tensor]:
    """The gradients of mu and sigma for that of the drawn weights: `grad`, and `grad * eps - pull * gap * |eps|`.

    `gap` is `relu(ceiling - sigma)`. What follows from `grad` is 0 for mu outside the mask `free`, for sigma outside
    `free_sigma` and below 2^-30; the pull is 0 outside `free`. That of mu is `grad` itself, masked in place, where
    nothing else may read it afterwards.
    """
    grad = grad.contiguous()
    if free is not None and not _is_ours(grad):
        grad = grad.clone()
    out = torch.empty_like(sigma, memory_format=torch.contiguous_format)
    arrays = _flat(grad), _flat(sigma), _mask(free)
    scalars = free_sigma is None, np.float32(ceiling), np.float32(pull)
    _share_out(cpu_kernels.gradients, sigma.numel(), np.uint64(key), number, *arrays, *scalars, _flat(out))
    return grad, out


def _is_ours(grad: Tensor) -> bool:
    """Whether a gradient that autograd hands over is held by nobody else, by the counts autograd itself goes by.

    A sum hands the same tensor to all its terms. What Python alone holds (a hook's or `retain_grad`'s) is not counted.
    """
    base = grad._base
    holders = 2 if base is None else 3  # of its memory: the tensor, the one it is a view of, and the storage asked
    return (
        grad._use_count() == 1  # type: ignore[attr-defined]
        and (base is None or base._use_count() == 2)  # type: ignore[attr-defined]  # the view's and this function's
        and torch._C._storage_Use_Count(grad.untyped_storage()._cdata) == holders
    )


def add_masked(total: Tensor, values: Tensor, free: Tensor, factor: float) -> None:
    """`total += factor * values` in the mask `free`, in place; `total` is contiguous."""
    _share_out(cpu_kernels.add_masked, total.numel(), _flat(total), _flat(values), _mask(free), np.float32(factor))


def _flat(tensor: Tensor) -> Any:
    return tensor.detach().contiguous().view(-1).numpy()


def _mask(free: Tensor | None) -> Any:
    return _ALL_FREE if free is None else _flat(free.view(torch.uint8))


_ALL_FREE = np.empty(0, np.uint8)


def _share_out(kernel: Callable[..., None], size: int, *arguments: Any) -> None:
    """Run a kernel over all spans of `size` numbers: parts of them in this thread and in others."""
    spans = -(-size // cpu_kernels.SPAN)
    threads = torch.get_num_threads()
    parts = min(threads, max(1, spans // SPANS))
    bounds = [spans * part // parts for part in range(parts + 1)]
    others = [_threads(threads).submit(kernel, a, b, *arguments) for a, b in pairwise(bounds[1:])]
    kernel(bounds[0], bounds[1], *arguments)
    for other in others:
        other.result()


@cache
def _threads(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count, thread_name_prefix="pwfn-draw")
