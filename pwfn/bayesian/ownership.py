"""Whether a gradient that autograd hands to a backward pass may be written to: nothing else reads it afterwards.

A sum hands one tensor to all its terms; a hook, or a function written in Python, may keep what it was given or has
returned. Autograd itself goes by the counts of holders before it adds to a gradient in place, and so does this.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def owned(grads: Sequence[Tensor | None]) -> list[bool]:
    """Of each, to be asked with the very `*grads` of a `once_differentiable` backward; `usual` was called before."""
    held = _held(grads)  # more than usual also where two weights of one draw are given the same
    return [grad is not None and count == usual() and _alone(grad) for grad, count in zip(grads, held, strict=True)]


def _held(grads: Sequence[Tensor | None]) -> list[int]:
    """How often Python holds each."""
    return [sys.getrefcount(grad) for grad in grads]


def _alone(grad: Tensor) -> bool:
    """Whether it is all that autograd has of its memory."""
    base = grad._base
    holders = 2 if base is None else 3  # the tensor, the one it is a view of, and the storage asked
    return (
        grad._use_count() == 1  # type: ignore[attr-defined]
        and (base is None or base._use_count() == 2)  # type: ignore[attr-defined]  # the view's and this function's
        and torch._C._storage_Use_Count(grad.untyped_storage()._cdata) == holders
    )


class _Fresh(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, counts: list[int]) -> Tensor:
        ctx.counts = counts
        return values.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        ctx.counts.extend(_held(grads))
        return grads[0], None


@cache
def usual() -> int:
    """How often Python holds a gradient that nobody keeps, on its way into a backward pass."""
    counts: list[int] = []
    with torch.enable_grad():
        _Fresh.apply(torch.zeros(1, requires_grad=True), counts).exp().backward()
    return counts[0]
