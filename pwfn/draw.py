"""One draw of a tensor of weights, as a step of autograd, and the same without noise."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from pwfn import fused
from pwfn.prior import MIN_SIGMA
from pwfn.regularizer import Regularizer


@dataclass(frozen=True)
class Noise:
    """Where the noise of one tensor comes from: its `number` under a `key`, or torch's global generator (None)."""

    key: int | None
    number: int

    @classmethod
    def fresh(cls, tensors: Iterable[Tensor]) -> list[Noise]:
        """One for each tensor, decided by torch's global generator."""
        known = [fused.take(t) for t in tensors]
        key = int(torch.randint(-(1 << 63), (1 << 63) - 1, ())) % (1 << 64) if any(known) else None
        return [cls(key if yes else None, number) for number, yes in enumerate(known)]

    def like(self, tensor: Tensor) -> Tensor:
        """The noise, contiguous, in the shape of `tensor`."""
        if self.key is None:
            return torch.randn_like(tensor, memory_format=torch.contiguous_format)
        eps = torch.empty_like(tensor, memory_format=torch.contiguous_format)
        fused.fill_normal(eps, self.key, self.number)
        return eps


def draw(
    mu: Tensor, sigma: Tensor, free: Tensor | None, free_sigma: Tensor | None, rule: Regularizer, noise: Noise
) -> tuple[Tensor, Tensor]:
    """`mu + max(sigma, 2^-30) * eps`, and the regularizer's penalty for that eps (a scalar).

    Backward reaches mu where `free` and sigma where `free_sigma` (boolean masks, None: everywhere).
    """
    pull = rule.linear
    if noise.key is not None and pull is not None:
        drawn: tuple[Tensor, Tensor] = FusedDraw.apply(mu, sigma, free, free_sigma, pull, noise)
    else:
        drawn = Draw.apply(mu, sigma, noise.like(mu), free, free_sigma, rule)
    return drawn


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
    """A draw on any device, in torch's operations."""

    @staticmethod
    def forward(
        ctx: Any,
        mu: Tensor,
        sigma: Tensor,
        eps: Tensor,
        free: Tensor | None,
        free_sigma: Tensor | None,
        rule: Regularizer,
    ) -> tuple[Tensor, Tensor]:
        ctx.rule = rule
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(sigma, eps, free, free_sigma)
        return torch.addcmul(mu, sigma.clamp(min=MIN_SIGMA), eps), rule.penalty(sigma, eps, free)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor | None, scale: Tensor | None) -> tuple[Tensor | None, ...]:
        """`scale` is the penalty's own gradient: whatever is put on the loss (accumulation, mixed precision)."""
        sigma, eps, free, free_sigma = ctx.saved_tensors
        wants_mu, wants_sigma, *_ = ctx.needs_input_grad
        if grad is None:  # the network made no use of this weight
            grad = torch.zeros_like(eps)
        sigma_grad = None
        if wants_sigma:
            data = (grad * eps).masked_fill_(sigma < MIN_SIGMA, 0)
            sigma_grad = _only(data, free_sigma)
            if scale is not None:
                sigma_grad = torch.addcmul(sigma_grad, ctx.rule.gradient(sigma, eps, free, data / scale), scale)
        return _only(grad, free) if wants_mu else None, sigma_grad, None, None, None, None


class FusedDraw(torch.autograd.Function):
    """The same by the CPU's kernels, for a regularizer whose pull is linear: `(strength, ceiling)`."""

    @staticmethod
    def forward(
        ctx: Any,
        mu: Tensor,
        sigma: Tensor,
        free: Tensor | None,
        free_sigma: Tensor | None,
        pull: tuple[float, float],
        noise: Noise,
    ) -> tuple[Tensor, Tensor]:
        ctx.pull, ctx.noise = pull, noise
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(sigma, free, free_sigma)
        strength, ceiling = pull
        assert noise.key is not None
        weight, gaps = fused.draw(mu, sigma, free, ceiling, noise.key, noise.number)
        return weight, mu.new_tensor(strength / 2 * gaps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor | None, scale: Tensor | None) -> tuple[Tensor | None, ...]:
        sigma, free, free_sigma = ctx.saved_tensors
        wants_mu, wants_sigma, *_ = ctx.needs_input_grad
        if grad is None:
            grad = torch.zeros_like(sigma)
        if not wants_sigma:
            return _only(grad, free), *[None] * 5
        strength, ceiling = ctx.pull
        pull = 0.0 if scale is None else strength * scale.item()
        noise = ctx.noise.key, ctx.noise.number
        mu_grad, sigma_grad = fused.gradients(grad, sigma, free, free_sigma, ceiling, pull, *noise)
        return mu_grad if wants_mu else None, sigma_grad, None, None, None, None


def _only(grad: Tensor, free: Tensor | None) -> Tensor:
    return grad if free is None else grad * free.view(torch.int8)  # as numbers, three times faster than as truths
