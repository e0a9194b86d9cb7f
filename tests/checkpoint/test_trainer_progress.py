"""The counts of one trainer can be put into another; written for Lightning 2.6."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from pwfn.checkpoint.trainer_progress import counters, place_trainer


class Toy(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)
        self.seen: list[tuple[int, int, int]] = []

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        self.seen.append((self.trainer.current_epoch, batch_idx, self.trainer.global_step))
        return self.layer(batch[0]).sum()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


def new_trainer(folder: Path) -> Trainer:
    return Trainer(
        accelerator="cpu", max_epochs=0, accumulate_grad_batches=2, default_root_dir=folder, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip


def fit(trainer: Trainer, epochs: int, first: int = 0) -> list[tuple[int, int, int]]:
    module = Toy()
    trainer.fit_loop.max_epochs = epochs
    trainer.fit(module, DataLoader(TensorDataset(torch.ones(4 - first, 1)), batch_size=1))
    return module.seen


def test_a_new_trainer_goes_on_with_the_next_epoch(tmp_path: Path) -> None:
    done = new_trainer(tmp_path)
    fit(done, 2)
    assert counters(done) == {"epochs": 2, "steps": 4, "batches": 8}
    other = new_trainer(tmp_path)
    place_trainer(other, counters(done), batches=0)
    assert counters(other) == counters(done)
    assert other.current_epoch == 2
    assert fit(other, 3) == fit(done, 3) == [(2, 0, 4), (2, 1, 4), (2, 2, 5), (2, 3, 5)]
    assert counters(other) == counters(done) == {"epochs": 3, "steps": 6, "batches": 12}


@pytest.mark.filterwarnings("ignore:You're resuming")
def test_a_new_trainer_goes_on_within_an_epoch(tmp_path: Path) -> None:
    other = new_trainer(tmp_path)
    place_trainer(other, {"epochs": 2, "steps": 5, "batches": 10}, batches=2)
    assert fit(other, 3) == [(2, 2, 5), (2, 3, 5)]
    assert counters(other) == {"epochs": 3, "steps": 6, "batches": 12}


def test_lightning_saves_the_step_of_loggers_under_the_name_that_is_set(tmp_path: Path) -> None:
    trainer = new_trainer(tmp_path)
    assert trainer.fit_loop.state_dict()["epoch_loop.state_dict"] == {"_batches_that_stepped": 0}
    place_trainer(trainer, {"epochs": 2, "steps": 5, "batches": 10}, batches=0)
    assert trainer.fit_loop.state_dict()["epoch_loop.state_dict"] == {"_batches_that_stepped": 5}
