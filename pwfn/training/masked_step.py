"""The optimizer's steps on a Bayesian network: clipped, and with a weight decay that never moves a fixed weight.

Torch's fused steps (on a CPU) apply a factor on the gradients and the decay as they go over the weights. They are left
all that can be left to them: the decay of tensors with no fixed weight, and the clipping.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.optim import Optimizer

from pwfn.bayesian.posterior import quantized_tensors
from pwfn.training.optimizer import OptimizerSpec


def build_optimizer(network: nn.Module, spec: OptimizerSpec) -> Optimizer:
    """A fresh optimizer for what is to be trained; torch decays the tensors in which nothing is fixed."""
    masked = {id(parameter) for parameter, _ in _masked(network)}
    trained = [p for p in network.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if id(p) not in masked], "weight_decay": spec.weight_decay},
        {"params": [p for p in trained if id(p) in masked], "weight_decay": 0.0},
    ]
    return spec.build([group for group in groups if group["params"]])


def before_step(network: nn.Module, spec: OptimizerSpec, optimizer: Optimizer) -> Tensor | None:
    """Clip the gradients, then decay free weights of tensors with fixed ones: the last thing before each step.

    The norm of all gradients before clipping, None where nothing is to be clipped.
    """
    norm, divisor = None, 1.0
    if spec.clip_norm is not None:  # not by Lightning, which refuses to clip for a fused optimizer
        parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        norm = get_total_norm([p.grad for p in parameters if p.grad is not None])
        if optimizer.defaults.get("fused"):
            divisor = _leave_clipping_to(optimizer, spec.clip_norm, norm)
        else:
            clip_grads_with_norm_(parameters, spec.clip_norm, norm)
    spec.decay(_masked(network), lr=optimizer.param_groups[0]["lr"], divided_by=divisor)
    return norm


def _leave_clipping_to(optimizer: Optimizer, clip_norm: float, norm: Tensor) -> float:
    """Have the fused step clip, by torch's own rule; what it is going to divide the gradients by."""
    divisor = (norm.item() + 1e-6) / clip_norm
    if divisor <= 1:
        divisor = 1.0
    # fused steps have this for gradient scalers: they divide the gradients by it before all else
    optimizer.grad_scale = None if divisor == 1 else torch.tensor(divisor)  # type: ignore[attr-defined]
    return divisor


def _masked(network: nn.Module) -> Iterator[tuple[nn.Parameter, Tensor]]:
    """The means and sigmas of which some must not move, with a boolean mask of those that may."""
    for tensor in quantized_tensors(network):
        for parameter, free in zip((tensor.mu, tensor.gaussian.sigma), tensor.gaussian.masks, strict=True):
            if free is not None:
                yield parameter, free
