"""Draw the weights of a network as a step of autograd."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.autograd.graph import Node

from pwfn.bayesian.kernels import Gaussian, Kernels, backend
from pwfn.bayesian.kernels.interface import Drawn
from pwfn.tensor_version import tensor_version

EARLY = 1 << 62  # nodes with larger numbers come first; torch counts them up from 0


def fresh_key() -> int:
    """Draw a key for the noise, from 0 to 2^64 - 1, from torch's global generator of the CPU."""
    return as_key(random_word())


def random_word() -> Tensor:
    """Draw 64 bits (int64, a scalar on the CPU) from torch's global generator of the CPU."""
    return torch.randint(-(1 << 63), (1 << 63) - 1, ())


def as_key(word: Tensor) -> int:
    """Return 64 bits as a key, from 0 to 2^64 - 1."""
    return int(word) % (1 << 64)


def draw(gaussians: Sequence[Gaussian], key: int) -> tuple[list[Tensor], Tensor]:
    """Draw `mu + max(sigma, 2^-30) * eps` for each tensor, eps ~ N(0, 1), differentiable in mu and sigma.

    Args:
        gaussians: what to draw from; backward reaches all means, and the sigmas that are free.
        key: decides the noise (`fresh_key`).

    Returns:
        The weights, and the sum of the regularizers' penalties for those eps (a scalar).
    """
    kernels = backend([tensor for one in gaussians for tensor in (one.mu, one.sigma)])
    together = kernels.weights_together(sum(one.mu.numel() for one in gaussians))
    groups = list(_groups(gaussians, together))
    made = kernels.draw_groups(groups, key)  # lazily, inside `Draw.forward`, where nothing is recorded
    weights, penalties = list[Tensor](), list[Tensor]()
    for group in groups:
        tensors = chain.from_iterable((one.mu, one.sigma) for one in group)
        *drawn, penalty = Draw.apply(kernels, key, group, made, *tensors)
        weights += drawn
        penalties.append(penalty)
        run_early(penalty.grad_fn)
    stacked = torch.stack(penalties)
    total = stacked.sum()
    run_early(stacked.grad_fn)  # the gradients of all groups wait for these two
    run_early(total.grad_fn)
    return weights, total


def run_early(node: Node | None) -> None:
    """Have backward run a node of the graph as soon as it can.

    Without this it runs the nodes of a draw last, because they were made first: no gradient of a weight would be there
    before the end, and DDP could send nothing while the others are computed. torch 2.14 has no public name for it.
    """
    if node is not None:
        node._set_sequence_nr(EARLY)  # type: ignore[attr-defined]


def _groups(gaussians: Sequence[Gaussian], together: int) -> Iterator[list[Gaussian]]:
    """Group neighboring tensors, together of at most so many weights if there is more than one."""
    group, size = list[Gaussian](), 0
    for one in gaussians:
        if group and size + one.mu.numel() > together:
            yield group
            group, size = [], 0
        group.append(one)
        size += one.mu.numel()
    yield group


class Draw(torch.autograd.Function):
    """Draw several tensors; `_tensors` are mu and sigma of each in turn, for autograd.

    Nothing is saved for backward, so that losses of several of the tensors may be differentiated one after the other.
    """

    @staticmethod
    def forward(
        ctx: Any, kernels: Kernels, key: int, gaussians: Sequence[Gaussian], made: Iterator[Drawn], *_tensors: Tensor
    ) -> Any:
        """Return the weights and the penalty, which are what `made` gives next.

        Args:
            ctx: of autograd.
            kernels: compute the gradients.
            key: of the noise.
            gaussians: what is drawn.
            made: the draws of all groups, lazily.
            _tensors: for autograd alone.
        """
        ctx.kernels, ctx.key, ctx.gaussians = kernels, key, gaussians
        ctx.versions = [tensor_version(one.sigma) for one in gaussians]
        ctx.set_materialize_grads(False)
        weights, penalty = next(made)
        return *weights, penalty

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        """Compute the gradients; the last of `grads` is what precision or accumulation multiply the loss with.

        Raises:
            RuntimeError: a sigma was changed in place since the draw.
        """
        *of_weights, scale = grads
        gaussians: Sequence[Gaussian] = ctx.gaussians
        if [tensor_version(one.sigma) for one in gaussians] != ctx.versions:
            raise RuntimeError("a sigma has been changed in place between a draw and its backward pass")
        given = [  # None where the loss made no use of a weight
            torch.zeros_like(one.sigma) if grad is None else grad
            for one, grad in zip(gaussians, of_weights, strict=True)
        ]
        sigma_grads = ctx.kernels.sigma_gradients(gaussians, given, scale, ctx.key)
        in_turn = chain.from_iterable(zip(given, sigma_grads, strict=True))
        needed = ctx.needs_input_grad[4:]
        return None, None, None, None, *(grad if wanted else None for grad, wanted in zip(in_turn, needed, strict=True))
