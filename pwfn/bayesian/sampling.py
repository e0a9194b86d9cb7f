"""One draw of the weights, as a step of autograd, and the same without noise."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from pwfn.bayesian.kernels import calls
from pwfn.bayesian.ownership import owned, usual
from pwfn.bayesian.prior import MIN_SIGMA
from pwfn.bayesian.regularizer import Regularizer


@dataclass(frozen=True)
class Noise:
    """Where the noise of one tensor comes from: its `number` under a `key`, or torch's global generator (None)."""

    key: int | None
    number: int

    @classmethod
    def fresh(cls, tensors: Iterable[Tensor]) -> list[Noise]:
        """One for each tensor, decided by torch's global generator."""
        known = [calls.knows(t) for t in tensors]
        key = int(torch.randint(-(1 << 63), (1 << 63) - 1, ())) % (1 << 64) if any(known) else None
        return [cls(key if yes else None, number) for number, yes in enumerate(known)]

    def like(self, tensor: Tensor) -> Tensor:
        """The noise, contiguous, in the shape of `tensor`."""
        if self.key is None:
            return torch.randn_like(tensor, memory_format=torch.contiguous_format)
        eps = torch.empty_like(tensor, memory_format=torch.contiguous_format)
        calls.fill_normal(eps, self.key, self.number)
        return eps


@dataclass(frozen=True)
class Source:
    """What one tensor of weights is drawn from. Masks are boolean, None: everywhere."""

    mu: Tensor
    sigma: Tensor
    free: Tensor | None  # where backward reaches mu
    free_sigma: Tensor | None  # where it reaches sigma
    rule: Regularizer


def draw(sources: Sequence[Source], noises: Sequence[Noise]) -> tuple[list[Tensor], Tensor]:
    """`mu + max(sigma, 2^-30) * eps` of each source, and the regularizers' penalty for those eps (a scalar)."""
    weights: dict[int, Tensor] = {}
    penalties, small = [], []
    for place, (source, noise) in enumerate(zip(sources, noises, strict=True)):
        if noise.key is None or source.rule.linear is None:
            masks = source.free, source.free_sigma
            weights[place], penalty = Draw.apply(source.mu, source.sigma, noise.like(source.mu), *masks, source.rule)
            penalties.append(penalty)
        elif source.mu.numel() < calls.ENOUGH:
            small.append(place)
        else:
            weights[place], penalty = _fused([source], [noise])
            penalties.append(penalty)
    if small:  # in one go
        *drawn, penalty = _fused([sources[place] for place in small], [noises[place] for place in small])
        weights.update(zip(small, drawn, strict=True))
        penalties.append(penalty)
    return [weights[place] for place in range(len(sources))], torch.stack(penalties).sum()


def _fused(sources: Sequence[Source], noises: Sequence[Noise]) -> tuple[Tensor, ...]:
    """By the CPU's kernels: the weights, and the penalty of all of them."""
    pieces = []
    for source, noise in zip(sources, noises, strict=True):
        pull, retrained = source.rule.linear, source.free_sigma is None
        assert pull is not None
        pieces.append(calls.Piece(noise.number, source.mu, source.sigma, source.free, retrained, *pull))
    tensors = chain.from_iterable((piece.mu, piece.sigma) for piece in pieces)
    result: tuple[Tensor, ...] = FusedDraw.apply(noises[0].key, pieces, *tensors)
    return result


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
    """The same of several tensors by the CPU's kernels; `tensors` are mu and sigma of every piece, in turn.

    Nothing is saved for backward, so that losses of several of the tensors may be differentiated one after the other.
    """

    @staticmethod
    def forward(ctx: Any, key: int, pieces: Sequence[calls.Piece], *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.key, ctx.pieces, ctx.versions = key, pieces, [piece.sigma._version for piece in pieces]
        ctx.set_materialize_grads(False)
        usual()
        weights, penalty = calls.draw(pieces, key)
        return *weights, weights[0].new_tensor(penalty)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        ours = owned(grads)[:-1]
        pieces, needed = ctx.pieces, ctx.needs_input_grad[2:]
        if [piece.sigma._version for piece in pieces] != ctx.versions:
            raise RuntimeError("a sigma has been changed in place between a draw and its backward pass")
        *of_weights, scale = grads
        given = [
            torch.zeros_like(p.sigma) if grad is None else grad for grad, p in zip(of_weights, pieces, strict=True)
        ]
        sigma_grads: Sequence[Tensor | None] = [None] * len(given)
        if any(needed[1::2]):
            pull = 0.0 if scale is None else scale.item()
            mu_grads, sigma_grads = calls.gradients(pieces, given, ours, pull, ctx.key)
        else:
            mu_grads = [_only(grad, piece.free) for grad, piece in zip(given, pieces, strict=True)]
        in_turn = chain.from_iterable(zip(mu_grads, sigma_grads, strict=True))
        return None, None, *(grad if yes else None for grad, yes in zip(in_turn, needed, strict=True))


def _only(grad: Tensor, free: Tensor | None) -> Tensor:
    return grad if free is None else grad * free.view(torch.int8)  # as numbers, three times faster than as truths
