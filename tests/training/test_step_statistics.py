"""What is logged of a training step is that step's, costs nothing in between, and changes no bit of the training."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from pwfn.bayesian.posterior import quantized_tensors
from pwfn.monitoring.loggers.spec import Csv
from pwfn.training.module import BayesianClassifier
from pwfn.training.optimizer import SGD
from pwfn.training.phase import Phase
from pwfn.training.step_statistics import StepStatistics, sigma_statistics
from tests.support.runs.toy_fits import classifier, trainer


class Naive(Callback):
    """The norm of all gradients just before they are clipped, and the learning rate, of every step."""

    def __init__(self) -> None:
        self.norms: list[float] = []
        self.rates: list[float] = []

    def on_before_optimizer_step(self, trainer, module, optimizer) -> None:  # type: ignore[no-untyped-def]
        grads = [p.grad.double().flatten() for p in module.network.parameters() if p.grad is not None]
        self.norms.append(torch.cat(grads).square().sum().sqrt().item())
        self.rates.append(optimizer.param_groups[0]["lr"])


def fit(
    folder: Path, phase: Phase, *callbacks: Callback, **options: Any
) -> tuple[BayesianClassifier, list[dict[str, str]]]:
    """Twelve batches an epoch of two images each; the module and the rows of the log."""
    module = classifier()
    data = TensorDataset(torch.randn(24, 1, 3, 3), torch.arange(24) % 3)
    logger = Csv().build(config={}, name="n", folder=folder, group=None)
    trainer_ = trainer(folder, *callbacks, log_every_n_steps=5, **options)
    trainer_.loggers = [logger] if callbacks else []
    module.begin(phase)
    trainer_.fit_loop.max_epochs = phase.epochs
    trainer_.fit(module, DataLoader(data, batch_size=2))
    path = folder / "training" / "version_0" / "metrics.csv"
    return module, list(csv.DictReader(path.open())) if path.exists() else []


def numbers(rows: list[dict[str, str]], key: str) -> list[float]:
    return [float(row[key]) for row in rows if row.get(key)]


def test_every_fifth_step_is_logged_with_its_own_gradients_rate_and_sigmas(tmp_path: Path) -> None:
    naive = Naive()
    spec = SGD(lr=0.1, clip_norm=100.0, lr_schedule="linear")  # never clips: the norms can be looked at afterwards
    _, rows = fit(tmp_path, Phase("phase", 2, spec), naive, StepStatistics(5))
    assert [row["step"] for row in rows] == ["4", "9", "14", "19"]
    assert all(row["train/cross_entropy"] for row in rows)  # one row for all that is known of a step
    assert numbers(rows, "train/grad_norm") == pytest.approx([naive.norms[n] for n in (4, 9, 14, 19)], rel=1e-5)
    assert numbers(rows, "train/lr") == pytest.approx([naive.rates[n] for n in (4, 9, 14, 19)])
    assert 0 < numbers(rows, "train/sigma_min")[-1] < numbers(rows, "train/sigma_max")[-1]
    assert min(numbers(rows, "train/images_per_second")) > 0
    assert 0.05 < numbers(rows, "train/memory_gb")[0] < 100


def test_of_accumulated_batches_each_step_is_logged_once(tmp_path: Path) -> None:
    _, rows = fit(tmp_path, Phase("phase", 2, SGD(lr=0.1)), StepStatistics(5), accumulate_grad_batches=2)
    assert len(numbers(rows, "train/lr")) == len(numbers(rows, "train/cross_entropy")) == 2  # 12 steps


def test_what_a_phase_does_not_have_is_not_logged(tmp_path: Path) -> None:
    phase = Phase("phase", 1, SGD(lr=0.1, clip_norm=None), noise=False, train_sigma=False)
    _, rows = fit(tmp_path, phase, StepStatistics(5))
    assert rows
    assert not {"train/grad_norm", "train/sigma_mean", "train/gpu_memory_gb"} & set(rows[0])


def test_training_is_the_same_to_the_last_bit_without_statistics(tmp_path: Path) -> None:
    def weights(folder: Path, *callbacks: Callback) -> Tensor:
        module, _ = fit(folder, Phase("phase", 2, SGD(lr=0.1)), *callbacks)
        return torch.cat([p.detach().flatten() for p in module.network.parameters()])

    assert torch.equal(weights(tmp_path / "with", StepStatistics(5)), weights(tmp_path / "without"))


def test_sigma_statistics_are_of_the_sigmas_that_train() -> None:
    network = classifier().network
    tensors = quantized_tensors(network)
    generator = torch.Generator().manual_seed(1)
    seen = []
    with torch.no_grad():
        for tensor in tensors:
            tensor.gaussian.sigma.copy_(torch.rand(tensor.mu.shape, generator=generator))
            tensor.gaussian.assignment.copy_((torch.rand(tensor.mu.shape, generator=generator) < 0.5).int() - 1)
            seen += tensor.gaussian.sigma[tensor.gaussian.assignment < 0].tolist()
    expected = {"mean": sum(seen) / len(seen), "min": min(seen), "max": max(seen)}
    assert sigma_statistics(network) == pytest.approx(expected, rel=1e-6)
    for tensor in tensors:
        tensor.gaussian.assignment.zero_()
    assert sigma_statistics(network) == {}
    for tensor in tensors:
        tensor.gaussian.retrain_sigma.fill_(True)
    assert sigma_statistics(network)["mean"] == pytest.approx(
        torch.cat([t.gaussian.sigma.flatten() for t in tensors]).mean().item()
    )
