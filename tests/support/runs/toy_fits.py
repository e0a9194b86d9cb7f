"""A small Bayesian classifier, and a quiet trainer for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, Trainer
from torch import nn

from pwfn.bayesian.posterior import set_sigma, to_bayesian
from pwfn.bayesian.prior import ConstantPrior
from pwfn.bayesian.regularizer import LinearRegularizer
from pwfn.training.module import BayesianClassifier


def classifier(strength: float = 2.0**-11) -> BayesianClassifier:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(9, 3))
    to_bayesian(network)
    set_sigma(network, ConstantPrior(1e-3))
    return BayesianClassifier(network, LinearRegularizer(strength=strength))


def trainer(folder: Path, *callbacks: Callback, **options: Any) -> Trainer:
    return Trainer(
        max_epochs=0, accelerator="cpu", devices=1, logger=False, enable_checkpointing=False,
        callbacks=list(callbacks), enable_progress_bar=False, enable_model_summary=False, default_root_dir=folder,
        **options,
    )  # fmt: skip
