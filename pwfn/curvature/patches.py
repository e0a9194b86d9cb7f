"""Take the inputs of a linear map apart: a column for each position at which its weight is applied."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pwfn.curvature.linear_calls import LinearCall

LEAST_POSITIONS = 65_536  # looked at of each map over all images, if it has as many
POSITIONS_A_COLUMN = 16  # and at least so many for each of its inputs
PIECE = 1 << 24  # numbers of a piece of inputs that is handled at once


def positions_of(call: LinearCall, images: int, batch: int) -> tuple[int, int]:
    """Return how many positions an image has in a map, and how many of them are looked at.

    Args:
        call: of the layer whose map it is.
        images: in all batches together.
        batch: images of this call.
    """
    count = call.returned.numel() // (batch * call.kernel[0])
    wanted = max(LEAST_POSITIONS, POSITIONS_A_COLUMN * call.kernel[1:].numel())
    return count, min(count, math.ceil(wanted / images))


def sampled_inputs(call: LinearCall, images: int, generator: torch.Generator) -> Iterator[tuple[Tensor, float]]:
    """Yield the inputs of a call, piece by piece, and the share of the positions that they are.

    Args:
        call: with a batch of images.
        images: how many images there are in all.
        generator: chooses the positions, the same for all images of a batch.

    Yields:
        Inputs [groups, inputs of a group, positions] of a few images, and the share, above 0 and at most 1.
    """
    batch = call.given.shape[0]
    count, wanted = positions_of(call, images, batch)
    chosen = torch.arange(count)
    if wanted < count:
        chosen = torch.randperm(count, generator=generator)[:wanted].sort().values
    size = max(1, PIECE // (wanted * call.kernel[1:].numel() * call.groups))
    for given in call.given.detach().split(size):
        given = given.to(torch.promote_types(given.dtype, torch.float32))
        if call.options is None:
            rows = given.reshape(len(given), -1, given.shape[-1])[:, chosen.to(given.device)]
            inputs = rows.reshape(1, -1, rows.shape[-1]).mT
        else:
            inputs = _patches(given, call.kernel, call.options, chosen)
        yield inputs, wanted / count


def pooled_inputs(call: LinearCall) -> Tensor:
    """Return the sum of a call's inputs over all positions: float64 [groups, inputs of a group, images]."""
    given = call.given.detach()
    given = given.to(torch.promote_types(given.dtype, torch.float32))
    if call.options is None:
        return given.reshape(len(given), -1, given.shape[-1]).sum(1, dtype=torch.float64).T[None]
    windows = _windows(given, call.kernel, call.options).sum((2, 3), dtype=torch.float64)
    return windows.permute(1, 2, 3, 0).reshape(call.groups, -1, len(given))


def _patches(given: Tensor, kernel: torch.Size, options: dict[str, Any], chosen: Tensor) -> Tensor:
    """Return the patches at some positions: [groups, inputs of a group, images * positions]."""
    windows = _windows(given, kernel, options)
    width = windows.shape[3]
    down, right = (chosen // width).to(given.device), (chosen % width).to(given.device)
    patches = windows[:, :, down, right]  # [images, channels, positions, kernel, kernel]
    return patches.permute(1, 3, 4, 0, 2).reshape(int(options["groups"]), -1, len(given) * len(chosen))


def _windows(given: Tensor, kernel: torch.Size, options: dict[str, Any]) -> Tensor:
    """Return a view of all patches: [images, channels, positions down, positions right, kernel, kernel]."""
    if len(kernel) == 3:  # of one dimension: one of two whose images are one pixel high
        given, kernel = given.unsqueeze(2), torch.Size([kernel[0], kernel[1], 1, kernel[2]])
        options = {name: _of_two(value, name) for name, value in options.items()}
    stride, dilation = _pair(options["stride"]), _pair(options["dilation"])
    given = F.pad(given, _padding(options["padding"], kernel, dilation)).contiguous()
    size = [(given.shape[2 + i] - dilation[i] * (kernel[2 + i] - 1) - 1) // stride[i] + 1 for i in (0, 1)]
    steps = given.stride()
    return given.as_strided(
        (*given.shape[:2], *size, *kernel[2:]),
        (*steps[:2], steps[2] * stride[0], steps[3] * stride[1], steps[2] * dilation[0], steps[3] * dilation[1]),
    )


def _of_two(value: Any, name: str) -> Any:
    if name == "groups" or isinstance(value, str):
        return value
    one = value if isinstance(value, int) else value[0]
    return (0 if name == "padding" else 1, one)


def _pair(value: Any) -> tuple[int, int]:
    if isinstance(value, int):
        return value, value
    values = tuple(value)
    return (values[0], values[0]) if len(values) == 1 else (values[0], values[1])


def _padding(padding: Any, kernel: torch.Size, dilation: tuple[int, int]) -> list[int]:
    """Return the zeros on the left, right, top and bottom."""
    if padding == "valid":
        padding = 0
    if padding == "same":
        whole = [dilation[i] * (kernel[2 + i] - 1) for i in (0, 1)]
        return [whole[1] // 2, whole[1] - whole[1] // 2, whole[0] // 2, whole[0] - whole[0] // 2]
    down, right = _pair(padding)
    return [right, right, down, down]
