"""Log learning rate, gradient norm, sigmas, speed and memory of training steps."""

from __future__ import annotations

import resource
import sys
import time
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Callback
from torch import nn
from torch.optim import Optimizer
from typing_extensions import override

from pwfn.bayesian.posterior import quantized_tensors
from pwfn.training.module import BayesianClassifier

_PEAK_BYTES = 1 if sys.platform == "darwin" else 1024  # bytes that getrusage counts the peak in


class StepStatistics(Callback):
    """Add the metrics of `pwfn.records.metric_names.STEP` to the rows that Lightning logs, on rank 0.

    Between two rows nothing is computed: a step costs what it does without a logger.

    Args:
        every: optimizer steps from row to row, `trainer.log_every_n_steps`.
    """

    def __init__(self, every: int) -> None:
        self.every = every
        self._images = self._logged_step = 0
        self._lr = 0.0
        self._since = time.perf_counter()

    @override
    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._restart()  # what lies between two epochs, validation for one, is not training

    def _restart(self) -> None:
        self._images, self._since = 0, time.perf_counter()

    @override
    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        self._lr = optimizer.param_groups[0]["lr"]  # after the step it is that of the next one

    @override
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._images += len(batch[0])
        step = trainer.global_step
        if not trainer.is_global_zero or step == self._logged_step or step % self.every:
            return
        assert isinstance(pl_module, BayesianClassifier)
        self._logged_step = step
        pl_module.log_dict(self._row(trainer, pl_module), rank_zero_only=True)
        self._restart()

    def _row(self, trainer: Trainer, module: BayesianClassifier) -> dict[str, float]:
        seconds = time.perf_counter() - self._since
        row = {
            "train/lr": self._lr,
            "train/images_per_second": self._images * trainer.world_size / seconds,
            "train/memory_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _PEAK_BYTES / 1e9,
        }
        if module.grad_norm is not None:
            row["train/grad_norm"] = module.grad_norm.item()
        if module.current_phase.train_sigma:
            row |= {f"train/sigma_{name}": value for name, value in sigma_statistics(module.network).items()}
        if trainer.strategy.root_device.type == "cuda":
            row["train/gpu_memory_gb"] = torch.cuda.max_memory_allocated(trainer.strategy.root_device) / 1e9
        return row


def sigma_statistics(network: nn.Module) -> dict[str, float]:
    """Compute mean, min and max of the sigmas that are not fixed; an empty dict where all are."""
    rows = []
    for tensor in quantized_tensors(network):
        sigma, free = tensor.gaussian.effective_sigma, tensor.gaussian.masks.sigma
        if free is None:
            free = torch.ones_like(sigma, dtype=torch.bool)
        largest = sigma.where(free, sigma.new_zeros(())).max()
        smallest = sigma.where(free, sigma.new_full((), torch.inf)).min()
        total = sigma.where(free, sigma.new_zeros(())).sum(dtype=torch.float64)
        rows.append(torch.stack([free.sum().double(), total, smallest.double(), largest.double()]))
    table = torch.stack(rows).cpu()  # one wait for a GPU, not four for every tensor
    count = table[:, 0].sum().item()
    if count == 0:
        return {}
    return {"mean": table[:, 1].sum().item() / count, "min": table[:, 2].min().item(), "max": table[:, 3].max().item()}
