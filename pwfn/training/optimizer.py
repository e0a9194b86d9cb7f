"""Which optimizer trains a phase, with which learning rate, decay and clipping.

Weight decay must not move a weight that is fixed: where some are, it is not left to torch, and `decay` applies it to free
weights alone.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from pwfn.bayesian.kernels import calls
from pwfn.errors import require


def _cosine(progress: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * progress))


LR_SCHEDULES: dict[str, Callable[[float], float]] = {  # factor on lr at a progress from 0 to 1
    "constant": lambda progress: 1.0,
    "cosine": _cosine,
    "linear": lambda progress: 1.0 - progress,
}


# parameters of which some must not move, each with a boolean mask of those that may
Masked = Iterable[tuple[nn.Parameter, Tensor]]


@dataclass(frozen=True, kw_only=True)
class OptimizerSpec(ABC):
    """`lr` is the peak; `warmup` the share of a phase in which it rises from 0; `clip_norm` the largest gradient norm."""

    lr: float = 1e-3
    weight_decay: float = 1e-4
    clip_norm: float | None = 1.0
    lr_schedule: Literal["constant", "cosine", "linear"] = "constant"
    warmup: float = 0.0

    def __post_init__(self) -> None:
        require(self, **self.rules())

    def rules(self) -> dict[str, tuple[bool, str]]:
        """The conditions on the fields; subclasses add theirs."""
        clip_norm = self.clip_norm is None or 0 < self.clip_norm < math.inf
        return {
            "lr": (0 < self.lr < math.inf, "a number above 0"),
            "weight_decay": (0 <= self.weight_decay < math.inf, "a number from 0"),
            "clip_norm": (clip_norm, "a number above 0, or null for no clipping"),
            "lr_schedule": (self.lr_schedule in LR_SCHEDULES, f"one of {', '.join(LR_SCHEDULES)}"),
            "warmup": (0 <= self.warmup < 1, "from 0 to below 1"),
        }

    @abstractmethod
    def build(self, groups: Sequence[dict[str, Any]]) -> Optimizer:
        """A fresh torch optimizer with learning rate `lr`; groups of `params`, each with a `weight_decay` of its own."""

    def lr_factor(self, step: int, steps: int) -> float:
        """The factor on `lr` at optimizer step `step` of a phase of `steps`."""
        warm = self.warmup * steps
        if step < warm:
            return (step + 1) / (warm + 1)
        return LR_SCHEDULES[self.lr_schedule](min(1.0, (step - warm) / max(1.0, steps - warm)))

    def decay(self, masked: Masked, *, lr: float, divided_by: float = 1.0) -> None:
        """Weight decay of the weights that may move, for one step, just before it: added to the gradients (L2).

        `divided_by`: what the step itself is going to divide the gradients by.
        """
        if self.weight_decay:
            _add_free([(p.grad, p.detach(), free) for p, free in masked], self.weight_decay * divided_by)


def _add_free(tensors: Iterable[tuple[Tensor | None, Tensor, Tensor]], factor: float) -> None:
    """`total += factor * values` where `free`, in place, for each that has a total."""
    by_kernels = []
    for total, values, free in tensors:
        if total is not None and calls.knows(total) and total.is_contiguous():
            by_kernels.append((total, values, free))
        elif total is not None:
            total.add_(values * free, alpha=factor)
    calls.add_masked(by_kernels, factor)


def _fused(groups: Sequence[dict[str, Any]]) -> bool | None:
    """True to ask torch for its fused step, which goes over the weights once instead of five times; None: as torch likes.

    Not on a GPU: there a fused step unscales the gradients of 16-mixed itself, after they were to be clipped.
    """
    on_cpu = all(parameter.device.type == "cpu" for group in groups for parameter in group["params"])
    return on_cpu or None


@dataclass(frozen=True, kw_only=True)
class SGD(OptimizerSpec):
    momentum: float = 0.9
    nesterov: bool = False

    def rules(self) -> dict[str, tuple[bool, str]]:
        momentum = 0 <= self.momentum < 1
        return super().rules() | {
            "momentum": (momentum, "from 0 to below 1"),
            "nesterov": (not self.nesterov or self.momentum > 0, "false where momentum is 0"),
        }

    def build(self, groups: Sequence[dict[str, Any]]) -> Optimizer:
        return torch.optim.SGD(groups, lr=self.lr, momentum=self.momentum, nesterov=self.nesterov, fused=_fused(groups))


@dataclass(frozen=True, kw_only=True)
class Adam(OptimizerSpec):
    betas: tuple[float, float] = (0.9, 0.999)

    def rules(self) -> dict[str, tuple[bool, str]]:
        betas = len(self.betas) == 2 and all(0 <= b < 1 for b in self.betas)
        return super().rules() | {"betas": (betas, "two numbers from 0 to below 1")}

    def build(self, groups: Sequence[dict[str, Any]]) -> Optimizer:
        return torch.optim.Adam(groups, lr=self.lr, betas=self.betas, fused=_fused(groups))


@dataclass(frozen=True, kw_only=True)
class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019, arXiv:1711.05101)."""

    def build(self, groups: Sequence[dict[str, Any]]) -> Optimizer:
        return torch.optim.AdamW(groups, lr=self.lr, betas=self.betas, fused=_fused(groups))

    def decay(self, masked: Masked, *, lr: float, divided_by: float = 1.0) -> None:
        """The same, taken off the weights themselves."""
        if self.weight_decay:
            trained = ((p.detach(), free) for p, free in masked if p.grad is not None)
            _add_free([(values, values, free) for values, free in trained], -lr * self.weight_decay)
