"""Train free weights, leave fixed ones: optimizers, learning rates, weight decay and clipping.

Before each step `before_step` sets the gradients of fixed weights to 0. Weight decay would move the weights all the
same: in tensors of which some are fixed it is therefore not left to torch, but applied to the free weights alone.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.optim import Optimizer
from typing_extensions import override

from pwfn.bayesian.kernels import backend
from pwfn.bayesian.posterior import quantized_tensors
from pwfn.errors import require
from pwfn.training.waiting import is_free_to_read


def _cosine(progress: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * progress))


LR_SCHEDULES: dict[str, Callable[[float], float]] = {  # factor on lr at a progress from 0 to 1
    "constant": lambda _: 1.0,
    "cosine": _cosine,
    "linear": lambda progress: 1.0 - progress,
}

Masked = Iterable[tuple[nn.Parameter, Tensor]]  # parameters, each with a boolean mask of what may move


@dataclass(frozen=True, kw_only=True)
class OptimizerSpec(ABC):
    """Hold the settings that all optimizers share.

    Attributes:
        lr: the largest learning rate.
        weight_decay: as in torch's optimizer of the same name; sigmas decay too.
        clip_norm: the largest norm of all gradients together; None for no clipping.
        lr_schedule: how the learning rate falls after the warm-up.
        warmup: the share of a phase, from 0 to below 1, in which the learning rate rises from 0.
    """

    lr: float = 1e-3
    weight_decay: float = 1e-4
    clip_norm: float | None = 1.0
    lr_schedule: Literal["constant", "cosine", "linear"] = "constant"
    warmup: float = 0.0

    def __post_init__(self) -> None:
        require(self, **self.rules())

    def rules(self) -> dict[str, tuple[bool, str]]:
        """Return the conditions on the fields, as `pwfn.errors.require` takes them; subclasses add theirs."""
        clip_norm = self.clip_norm is None or 0 < self.clip_norm < math.inf
        return {
            "lr": (0 < self.lr < math.inf, "a number above 0"),
            "weight_decay": (0 <= self.weight_decay < math.inf, "a number from 0"),
            "clip_norm": (clip_norm, "a number above 0, or null for no clipping"),
            "lr_schedule": (self.lr_schedule in LR_SCHEDULES, f"one of {', '.join(LR_SCHEDULES)}"),
            "warmup": (0 <= self.warmup < 1, "from 0 to below 1"),
        }

    @abstractmethod
    def build(self, groups: Sequence[dict[str, Any]], *, scaled: bool = False) -> Optimizer:
        """Build torch's optimizer.

        Args:
            groups: `params`, each with its `weight_decay`; their learning rate is `lr`.
            scaled: whether a gradient scaler takes part, as in 16-mixed.
        """

    def lr_factor(self, step: int, steps: int) -> float:
        """Return the factor on `lr` at optimizer step `step` of a phase of `steps`."""
        warm = self.warmup * steps
        if step < warm:
            return (step + 1) / (warm + 1)
        return LR_SCHEDULES[self.lr_schedule](min(1.0, (step - warm) / max(1.0, steps - warm)))

    def decay(self, masked: Masked, *, lr: float, divided_by: float | Tensor = 1.0) -> None:
        """Decay the weights that may move, just before a step: L2, added to the gradients.

        Args:
            masked: the parameters and masks; those without a gradient are left out.
            lr: the learning rate of the step.
            divided_by: what the step itself is going to divide the gradients by.
        """
        del lr  # decoupled decay, in a subclass, scales with it
        if self.weight_decay:
            with_grad = [(p.grad, p, free) for p, free in masked if p.grad is not None]
            _add_masked(with_grad, divided_by * self.weight_decay)


@torch.no_grad()
def _add_masked(tensors: Sequence[tuple[Tensor, Tensor, Tensor]], factor: float | Tensor) -> None:
    if tensors:
        backend([total for total, _, _ in tensors]).add_masked(tensors, factor)


def _fused(groups: Sequence[dict[str, Any]], *, scaled: bool) -> bool | None:
    """Return True to ask torch for its fused step, one pass instead of five; None lets it decide.

    Not with a gradient scaler: a fused step unscales the gradients itself, after they were to be clipped.
    """
    devices = {parameter.device.type for group in groups for parameter in group["params"]}
    return (devices in ({"cpu"}, {"cuda"}) and not scaled) or None


@dataclass(frozen=True, kw_only=True)
class SGD(OptimizerSpec):
    """Descend stochastic gradients, with momentum.

    Attributes:
        momentum: from 0 to below 1.
        nesterov: whether the momentum is Nesterov's; only with one above 0.
    """

    momentum: float = 0.9
    nesterov: bool = False

    @override
    def rules(self) -> dict[str, tuple[bool, str]]:
        momentum = 0 <= self.momentum < 1
        return super().rules() | {
            "momentum": (momentum, "from 0 to below 1"),
            "nesterov": (not self.nesterov or self.momentum > 0, "false where momentum is 0"),
        }

    @override
    def build(self, groups: Sequence[dict[str, Any]], *, scaled: bool = False) -> Optimizer:
        fused = _fused(groups, scaled=scaled)
        return torch.optim.SGD(groups, lr=self.lr, momentum=self.momentum, nesterov=self.nesterov, fused=fused)


@dataclass(frozen=True, kw_only=True)
class Adam(OptimizerSpec):
    """Use Adam (Kingma and Ba 2015, arXiv:1412.6980); both `betas` are from 0 to below 1."""

    betas: tuple[float, float] = (0.9, 0.999)

    @override
    def rules(self) -> dict[str, tuple[bool, str]]:
        betas = len(self.betas) == 2 and all(0 <= b < 1 for b in self.betas)
        return super().rules() | {"betas": (betas, "two numbers from 0 to below 1")}

    @override
    def build(self, groups: Sequence[dict[str, Any]], *, scaled: bool = False) -> Optimizer:
        return torch.optim.Adam(groups, lr=self.lr, betas=self.betas, fused=_fused(groups, scaled=scaled))


@dataclass(frozen=True, kw_only=True)
class AdamW(Adam):
    """Use Adam with decoupled weight decay (Loshchilov and Hutter 2019, arXiv:1711.05101)."""

    @override
    def build(self, groups: Sequence[dict[str, Any]], *, scaled: bool = False) -> Optimizer:
        return torch.optim.AdamW(groups, lr=self.lr, betas=self.betas, fused=_fused(groups, scaled=scaled))

    @override
    def decay(self, masked: Masked, *, lr: float, divided_by: float | Tensor = 1.0) -> None:
        """Decay the weights themselves; `divided_by` has no part in it."""
        if self.weight_decay:
            _add_masked([(p, p, free) for p, free in masked if p.grad is not None], -lr * self.weight_decay)


def build_optimizer(network: nn.Module, spec: OptimizerSpec, *, scaled: bool = False) -> Optimizer:
    """Build a fresh optimizer for the parameters of `network` that require gradients.

    Its steps need `before_step` first. torch decays the tensors in which nothing is fixed.

    Args:
        network: a Bayesian network.
        spec: the settings.
        scaled: whether a gradient scaler takes part, as in 16-mixed.

    Returns:
        The optimizer; parameters with a mask are in a group without weight decay.
    """
    masked = {id(parameter) for parameter, _ in masked_parameters(network)}
    trained = [p for p in network.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if id(p) not in masked], "weight_decay": spec.weight_decay},
        {"params": [p for p in trained if id(p) in masked], "weight_decay": 0.0},
    ]
    return spec.build([group for group in groups if group["params"]], scaled=scaled)


def before_step(network: nn.Module, spec: OptimizerSpec, optimizer: Optimizer) -> Tensor | None:
    """Set the gradients of fixed weights to 0, clip, then decay the free weights beside fixed ones.

    Args:
        network: a Bayesian network whose gradients are complete: averaged over processes, unscaled.
        spec: the settings that `optimizer` was built from.
        optimizer: what is going to step next.

    Returns:
        The norm of the gradients of all that may move before clipping, None where `spec` does not clip.
    """
    _mask_gradients(network)
    norm: Tensor | None = None
    divisor: float | Tensor = 1.0
    if spec.clip_norm is not None:  # not by Lightning, which refuses to clip for a fused optimizer
        parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        norm = get_total_norm([p.grad for p in parameters if p.grad is not None])
        if optimizer.defaults.get("fused"):
            divisor = _leave_clipping_to(optimizer, spec.clip_norm, norm)
        else:
            clip_grads_with_norm_(parameters, spec.clip_norm, norm)
    spec.decay(list(masked_parameters(network)), lr=optimizer.param_groups[0]["lr"], divided_by=divisor)
    return norm


@torch.no_grad()
def _mask_gradients(network: nn.Module) -> None:
    masked = [(tensor.mu.grad, tensor.gaussian.masks.mu) for tensor in quantized_tensors(network)]
    given = [(grad, free) for grad, free in masked if grad is not None and free is not None]
    if given:
        backend([grad for grad, _ in given]).keep_free(given)


def _leave_clipping_to(optimizer: Optimizer, clip_norm: float, norm: Tensor) -> float | Tensor:
    """Have the fused step clip, by torch's own rule; return what it is going to divide the gradients by."""
    # fused steps have `grad_scale` for gradient scalers: they divide the gradients by it before all else
    if is_free_to_read(norm):
        divisor = (norm.item() + 1e-6) / clip_norm
        if divisor <= 1:
            divisor = 1.0
        optimizer.grad_scale = None if divisor == 1 else torch.tensor(divisor)  # type: ignore[attr-defined]
        return divisor
    on_device = norm.double().add_(1e-6).div_(clip_norm).clamp_(min=1).float()
    optimizer.grad_scale = on_device  # type: ignore[attr-defined]
    return on_device


def masked_parameters(network: nn.Module) -> Iterator[tuple[nn.Parameter, Tensor]]:
    """Yield the means and sigmas of which some must not move, each with a boolean mask of those that may."""
    for tensor in quantized_tensors(network):
        for parameter, free in zip((tensor.mu, tensor.gaussian.sigma), tensor.gaussian.masks, strict=True):
            if free is not None:
                yield parameter, free
