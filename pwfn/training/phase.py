"""Describe one fit: what is trained, for how long, and by which optimizer."""

from __future__ import annotations

from dataclasses import dataclass

from pwfn.errors import RunError
from pwfn.training.optimizer import OptimizerSpec


class TrainingDiverged(RunError):
    """End a run whose loss or weights are not finite; the message says where and what to try."""


@dataclass(frozen=True)
class Phase:
    """Describe one fit.

    Args:
        label: its name for people, "round 2/10".
        epochs: passes over the share of the training images; from 0.
        optimizer: a fresh one is built for the fit.
        share: of the training images that an epoch sees; above 0, at most 1.
        noise: whether weights are drawn in training; otherwise the means are used.
        train_mu: whether the means of the quantized weights are trained.
        train_sigma: whether their standard deviations are trained.
        train_others: whether the parameters that are not quantized are trained.
        layers: names of the layers that train alone, with all that is in them; empty = every layer.
        lr_key: the learning rate's name in the configuration, for messages.
    """

    label: str
    epochs: int
    optimizer: OptimizerSpec
    share: float = 1.0
    noise: bool = True
    train_mu: bool = True
    train_sigma: bool = True
    train_others: bool = True
    layers: tuple[str, ...] = ()
    lr_key: str = "optimizer.lr"
