"""One draw of a tensor of weights, as a step of autograd, and the same without noise."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from pwfn.prior import MIN_SIGMA
from pwfn.regularizer import Regularizer

BLOCK = 1 << 17  # elements that are worked on at once on the CPU


class OnlyFree(torch.autograd.Function):
    """The identity, whose gradient is zero where a weight is fixed."""

    @staticmethod
    def forward(ctx: Any, mu: Tensor, free: Tensor | None) -> Tensor:
        ctx.save_for_backward(free)
        return mu.view_as(mu)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (free,) = ctx.saved_tensors
        return _only(grad, free), None


class Draw(torch.autograd.Function):
    """`mu + max(sigma, 2^-30) * eps` with fresh eps, and the regularizer's penalty for that eps.

    A step makes a dozen passes over the weights; on the CPU they are made block by block, so that what one pass writes
    the next one finds in cache.
    """

    @staticmethod
    def forward(
        ctx: Any, mu: Tensor, sigma: Tensor, free: Tensor | None, free_sigma: Tensor | None, rule: Regularizer
    ) -> tuple[Tensor, Tensor]:
        eps = torch.randn_like(mu, memory_format=torch.contiguous_format)
        weight = torch.empty_like(eps)
        penalty = mu.new_zeros(())
        ctx.rule = rule
        ctx.maybe_clamped = mu.device.type != "cpu" or bool(sigma.min() < MIN_SIGMA)  # to ask a GPU is to wait for it
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(sigma, eps, free, free_sigma)
        for w, m, s, e, f in _blocks(rule, weight, mu, sigma, eps, free):
            torch.addcmul(m, s.clamp(min=MIN_SIGMA) if ctx.maybe_clamped else s, e, out=w)
            penalty += rule.penalty(s, e, f)
        return weight, penalty

    @staticmethod
    def backward(
        ctx: Any, grad: Tensor | None, penalty_grad: Tensor | None
    ) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        sigma, eps, free, free_sigma = ctx.saved_tensors
        if grad is None:  # the network made no use of this weight
            grad = torch.zeros_like(sigma)
        mu_grad = _only(grad, free) if ctx.needs_input_grad[0] else None
        if not ctx.needs_input_grad[1]:
            return mu_grad, None, None, None, None
        sigma_grad = torch.empty_like(eps)
        for out, g, s, e, f, keep in _blocks(ctx.rule, sigma_grad, grad, sigma, eps, free, free_sigma):
            torch.mul(g, e, out=out)
            if ctx.maybe_clamped:
                out.masked_fill_(s < MIN_SIGMA, 0)
            # The penalty's own gradient carries every scale put on the loss (accumulation, mixed precision).
            added = None
            if penalty_grad is not None:
                added = ctx.rule.gradient(s, e, f, out if ctx.rule.elementwise else out / penalty_grad)
            if keep is not None:
                out.mul_(keep.view(torch.int8))
            if added is not None:
                out.addcmul_(added, penalty_grad)
        return mu_grad, sigma_grad, None, None, None


def _only(grad: Tensor, free: Tensor | None) -> Tensor:
    return grad if free is None else grad * free.view(torch.int8)  # as numbers, three times faster than as truths


def _blocks(rule: Regularizer, *tensors: Tensor | None) -> Iterator[tuple[Any, ...]]:
    """The tensors, flat, in blocks of equal length; in one piece on a GPU and for rules that look at a whole tensor."""
    assert tensors[0] is not None
    size = BLOCK if rule.elementwise and tensors[0].device.type == "cpu" else max(1, tensors[0].numel())
    count = -(-tensors[0].numel() // size)
    return zip(*([None] * count if t is None else t.reshape(-1).split(size) for t in tensors), strict=True)
