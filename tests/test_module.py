"""The learning rate of real fits: each phase runs through its whole schedule, whatever phases came before."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from pytorch_lightning import Callback, Trainer
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from pwfn.module import BayesianClassifier, Phase
from pwfn.optimizer import SGD
from pwfn.posterior import set_sigma, to_bayesian
from pwfn.prior import Constant
from pwfn.regularizer import Linear


class LearningRates(Callback):
    """Notes the learning rate of every optimizer step."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_before_optimizer_step(self, trainer, module, optimizer) -> None:  # type: ignore[no-untyped-def]
        self.seen.append(optimizer.param_groups[0]["lr"])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("accumulate", "steps_an_epoch"), [(1, 6), (3, 2), (4, 2)])  # a last, smaller step counts
def test_every_phase_goes_through_its_whole_schedule(accumulate: int, steps_an_epoch: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(9, 3))
    to_bayesian(network)
    set_sigma(network, Constant(1e-3))
    module = BayesianClassifier(network, Linear(), num_classes=3)
    rates = LearningRates()
    trainer = Trainer(
        max_epochs=0, accelerator="cpu", devices=1, logger=False, enable_checkpointing=False, callbacks=[rates],
        enable_progress_bar=False, enable_model_summary=False, default_root_dir=tmp_path,
        accumulate_grad_batches=accumulate,
    )  # fmt: skip
    images, labels = torch.randn(48, 1, 3, 3), torch.randint(3, (48,))
    optimizer = SGD(lr=0.5, lr_schedule="linear")
    for epochs in (1, 3, 2):
        rates.seen.clear()
        module.begin(Phase("phase", epochs, optimizer))
        trainer.fit_loop.max_epochs = trainer.current_epoch + epochs
        trainer.fit(module, DataLoader(TensorDataset(images, labels), batch_size=8))
        steps = epochs * steps_an_epoch
        assert rates.seen == pytest.approx([0.5 * (1 - step / steps) for step in range(steps)])
