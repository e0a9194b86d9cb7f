"""Describe one fit: what is trained, for how long, and with which optimizer."""

from __future__ import annotations

from dataclasses import dataclass

from pwfn.errors import RunError
from pwfn.training.optimizer import OptimizerSpec


class TrainingDiverged(RunError):
    """The loss is no number, or the weights cannot be clustered any more; one line says where and what to try."""


@dataclass(frozen=True)
class Phase:
    """What one fit trains: under noise or at the mean, mu, sigma and the others, which are not quantized, or some of them."""

    label: str
    epochs: int
    optimizer: OptimizerSpec
    share: float = 1.0  # of the training images per epoch
    noise: bool = True
    train_mu: bool = True
    train_sigma: bool = True
    train_others: bool = True
    lr_key: str = "optimizer.lr"  # the learning rate's name in the configuration
