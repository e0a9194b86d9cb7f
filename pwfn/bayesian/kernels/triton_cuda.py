"""Draw float32 weights and compute gradients on a GPU, all tensors in one launch of a compiled kernel.

The host never waits for the device. What a launch needs to know goes there from pinned memory, as a table of addresses.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from pwfn.bayesian.kernels import triton_compiled as compiled
from pwfn.bayesian.kernels.interface import Drawn, Gaussian
from pwfn.bayesian.kernels.reference import Reference

FEWEST = 1 << 22  # weights of a group, about as many as one of DDP's buckets holds
GROUPS = 8  # about how many groups a network has at most
PAIRS = 512  # of numbers, for one program
ROW = compiled.COLUMNS
OPERANDS = 4
LARGEST = 2**31 - 2**16  # places are int32, also those of the last block that lie outside


class TritonCUDA(Reference):
    """Compute with float32 weights on a GPU; the reference does regularizers without a `linear` form."""

    pairs = PAIRS

    @override
    def supports(self, tensors: Sequence[Tensor]) -> bool:
        return all(
            tensor.device.type == "cuda" and tensor.dtype == torch.float32 and tensor.numel() <= LARGEST
            for tensor in tensors
        )

    @override
    def weights_together(self, weights: int) -> int:
        return max(FEWEST, weights // GROUPS)

    @override
    def noise(self, gaussians: Sequence[Gaussian], key: int) -> list[Tensor]:
        made = [torch.empty_like(one.mu, memory_format=torch.contiguous_format) for one in gaussians]
        rows = [_row([out], number=one.number) for out, one in zip(made, gaussians, strict=True)]
        self._launch(compiled.fill_noise, rows, made, *_words(key))
        return made

    @override
    def draw(self, gaussians: Sequence[Gaussian], key: int) -> Drawn:
        if _left_to_reference(gaussians):
            return super().draw(gaussians, key)
        mus = [_simple(one.mu) for one in gaussians]
        sigmas = [_simple(one.sigma) for one in gaussians]
        masks = [_mask(one.free_mu) for one in gaussians]
        made = copies(mus)
        rows = []
        for one, *operands in zip(gaussians, made, mus, sigmas, masks, strict=True):
            strength, ceiling = one.regularizer.linear or (0.0, 0.0)
            rows.append(_row(operands, number=one.number, ceiling=ceiling, strength=strength / 2))
        penalties = made[0].new_empty(self._programs(made))
        self._launch(compiled.draw, rows, made, penalties, *_words(key))
        return made, penalties.sum()

    @override
    def draw_groups(self, groups: Sequence[Sequence[Gaussian]], key: int) -> Iterator[Drawn]:
        if any(_left_to_reference(group) for group in groups):
            yield from super().draw_groups(groups, key)
            return
        weights, penalty = self.draw([one for group in groups for one in group], key)
        # the first group has the whole penalty, the others 0: its gradient reaches all of them
        shares = torch.nn.functional.pad(penalty.view(1), (0, len(groups) - 1)).unbind()
        start = 0
        for group, share in zip(groups, shares, strict=True):
            yield weights[start : start + len(group)], share
            start += len(group)

    @override
    def sigma_gradients(
        self, gaussians: Sequence[Gaussian], grads: Sequence[Tensor], scale: Tensor | None, key: int
    ) -> list[Tensor]:
        if _left_to_reference(gaussians):
            return super().sigma_gradients(gaussians, grads, scale, key)
        sigmas = [_simple(one.sigma) for one in gaussians]
        given = [_simple(grad) for grad in grads]
        masks = [_mask(one.free_mu) for one in gaussians]
        made = copies(sigmas)
        rows = []
        for one, *operands in zip(gaussians, made, given, sigmas, masks, strict=True):
            strength, ceiling = one.regularizer.linear or (0.0, 0.0)
            retrained = one.free_sigma is None
            rows.append(_row(operands, number=one.number, ceiling=ceiling, strength=strength, retrained=retrained))
        factor = made[0].new_zeros(()) if scale is None else scale.to(torch.float32)
        self._launch(compiled.sigma_gradients, rows, made, factor, *_words(key))
        return made

    @override
    def add_masked(self, tensors: Sequence[tuple[Tensor, Tensor, Tensor]], factor: float | Tensor) -> None:
        simple = [row for row in tensors if _layout(row[0]) is not None]
        super().add_masked([row for row in tensors if _layout(row[0]) is None], factor)
        if simple:
            totals = [total for total, _, _ in simple]
            operands = [(total, _simple(values), None, _mask(free)) for total, values, free in simple]
            on_device = factor if isinstance(factor, Tensor) else totals[0].new_full((), factor)
            rows = [_row(given) for given in operands]
            self._launch(compiled.add_masked, rows, totals, on_device.to(torch.float32))

    @override
    def keep_free(self, tensors: Sequence[tuple[Tensor, Tensor]]) -> None:
        simple = [row for row in tensors if _layout(row[0]) is not None]
        super().keep_free([row for row in tensors if _layout(row[0]) is None])
        if simple:
            operands = [(total, None, None, _mask(free)) for total, free in simple]
            self._launch(compiled.keep_free, [_row(given) for given in operands], [total for total, _ in simple])

    def _programs(self, tensors: Sequence[Tensor]) -> int:
        return sum(-(-tensor.numel() // (2 * self.pairs)) for tensor in tensors)

    def _launch(self, kernel: Any, rows: Sequence[list[int]], tensors: Sequence[Tensor], *arguments: Any) -> None:
        """Have one program compute each block of `tensors`, described by `rows`."""
        device = tensors[0].device
        programs = self._programs(tensors)
        if not programs:
            return
        on_gpu = device.type == "cuda"
        table = torch.empty((len(rows), ROW), dtype=torch.int64, pin_memory=on_gpu)
        table.numpy()[:] = rows
        owners, blocks = _places(tuple(tensor.numel() for tensor in tensors), 2 * self.pairs, device)
        with torch.cuda.device(device) if on_gpu else nullcontext():
            self._start(kernel, programs, table.to(device, non_blocking=True), owners, blocks, *arguments)

    def _start(self, kernel: Any, programs: int, *arguments: Any) -> None:
        kernel[(programs,)](*arguments, columns=ROW, pairs=self.pairs)


def copies(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Copy several tensors in one operation, where to make an empty tensor for each would be many.

    torch 2.14 has no public name for operations on lists of tensors.
    """
    return list(torch._foreach_mul(list(tensors), 1.0))


def _left_to_reference(gaussians: Sequence[Gaussian]) -> bool:
    return any(one.regularizer.linear is None for one in gaussians)


def _words(key: int) -> tuple[int, int]:
    """Return the halves of a key as int32, so that all keys have one type and nothing is compiled anew."""
    low, high = np.array([key % 2**32, key >> 32], dtype=np.uint32).view(np.int32).tolist()
    return low, high


@lru_cache(maxsize=64)
def _places(sizes: tuple[int, ...], block: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """List each program's tensor and block (int32), kept on the device: they are the same in every step."""
    counts = [-(-size // block) for size in sizes]
    owners = np.repeat(np.arange(len(sizes), dtype=np.int32), counts)
    blocks = np.concatenate([np.arange(count, dtype=np.int32) for count in counts])
    return torch.from_numpy(owners).to(device), torch.from_numpy(blocks).to(device)


def _row(
    operands: Sequence[Tensor | None],
    *,
    number: int = 0,
    ceiling: float = 0.0,
    strength: float = 0.0,
    retrained: bool = False,
) -> list[int]:
    """Return one row of the table, in the order of the columns."""
    out = operands[0]
    assert out is not None
    addresses, layouts = [0] * OPERANDS, 0
    for i, tensor in enumerate(operands):
        if tensor is not None:
            addresses[i] = tensor.data_ptr()
            layouts |= (_layout(tensor) or 0) << i
    channels = out.shape[1] if out.dim() > 1 else 1
    pixels = math.prod(out.shape[2:])
    bits = np.array([ceiling, strength], dtype=np.float32).view(np.int32).tolist()
    return [*addresses, out.numel(), number, channels, pixels, layouts, *bits, int(retrained)]


def _layout(tensor: Tensor) -> int | None:
    """Return 0 for numbers in a row, 1 with the channels last, None for any other layout."""
    if tensor.is_contiguous():
        return 0
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    last = tensor.dim() in formats and tensor.is_contiguous(memory_format=formats[tensor.dim()])
    return 1 if last else None


def _simple(tensor: Tensor) -> Tensor:
    """Return the tensor itself where its layout is one of the two, else a copy."""
    return tensor if _layout(tensor) is not None else tensor.contiguous()


def _mask(free: Tensor | None) -> Tensor | None:
    return None if free is None else _simple(free)
