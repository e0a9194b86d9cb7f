"""Whatever trains, a fixed weight does not change by one bit until the next clustering."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from pytorch_lightning import Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from pwfn.bayesian.flat_weights import FlatWeights, check_fixed
from pwfn.bayesian.posterior import quantized_tensors, set_sigma, to_bayesian
from pwfn.bayesian.prior import Pow2DistancePrior
from pwfn.bayesian.regularizer import ExponentialRegularizer, LinearOnGradRegularizer, LinearRegularizer, Regularizer
from pwfn.clustering import sigma_join
from pwfn.clustering.codebooks.codebook import AdditivePow2
from pwfn.clustering.rules import Greedy
from pwfn.run.rounds.cluster_network import cluster_network
from pwfn.training.module import BayesianClassifier
from pwfn.training.optimizer import SGD, Adam, AdamW, OptimizerSpec
from pwfn.training.phase import Phase

HARD = [  # large steps, strong decay, clipping
    SGD(lr=0.05, momentum=0.9, weight_decay=0.1, clip_norm=1.0),
    SGD(lr=0.05, momentum=0.9, nesterov=True, weight_decay=0.1, clip_norm=None, lr_schedule="cosine", warmup=0.2),
    Adam(lr=0.05, weight_decay=0.1, clip_norm=0.5),
    AdamW(lr=0.05, weight_decay=0.1, clip_norm=0.5),
]


@dataclass(frozen=True)
class Snapshot:
    mu: Tensor
    sigma: Tensor
    norm: Tensor

    @classmethod
    def of(cls, model: nn.Module) -> Snapshot:
        tensors = quantized_tensors(model)
        sigma = torch.cat([t.gaussian.sigma.detach().flatten() for t in tensors])
        return cls(FlatWeights.of(tensors).mu.clone(), sigma, model.get_parameter("1.weight").detach().clone())


@dataclass(frozen=True)
class Run:
    """A module clustered at 60 %, and how to train it."""

    module: BayesianClassifier
    fixed: Tensor
    codebook: Tensor
    folder: Path

    def train(self, phase: Phase) -> tuple[Snapshot, Snapshot]:
        """State before and after."""
        model = self.module.network
        before = Snapshot.of(model)
        images = torch.randn(60, 1, 6, 6, generator=torch.Generator().manual_seed(1))
        labels = (images.mean((1, 2, 3)) > 0).long() + 2 * (images[:, 0, 0, 0] > 0).long()
        self.module.begin(phase)
        trainer = Trainer(
            max_epochs=phase.epochs,
            accelerator="cpu",
            devices=1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=self.folder,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trainer.fit(self.module, DataLoader(TensorDataset(images, labels), batch_size=12))
        assert trainer.global_step == 5 * phase.epochs
        return before, Snapshot.of(model)


def prepare(folder: Path, rule: str = "std_mu", regularizer: Regularizer | None = None) -> Run:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 6, 3, groups=2), nn.Flatten(), nn.Linear(24, 4)
    )
    tensors = to_bayesian(model)
    set_sigma(model, Pow2DistancePrior())
    result = cluster_network(
        tensors,
        FlatWeights.of(tensors),
        fraction=0.6,
        threshold=1.0,
        rule=Greedy(),
        codebook=AdditivePow2(),
        sigma_join=getattr(sigma_join, rule),
    )
    fixed = result.assignment >= 0
    assert 0.6 <= fixed.double().mean() < 0.61
    module = BayesianClassifier(model, regularizer or LinearRegularizer(0.1))
    return Run(module, fixed, result.codebook, folder)


def moved(before: Tensor, after: Tensor) -> float:
    """Share of elements that differ."""
    return (before != after).double().mean().item()


@pytest.mark.parametrize("spec", HARD, ids=lambda s: f"{type(s).__name__}-{s.lr_schedule}")
def test_fixed_weights_keep_every_bit_and_free_ones_move(spec: OptimizerSpec, tmp_path: Path) -> None:
    run = prepare(tmp_path)
    before, after = run.train(Phase("test", 3, spec))
    fixed, free = run.fixed, ~run.fixed
    assert torch.equal(after.mu[fixed], before.mu[fixed])
    assert torch.equal(after.sigma[fixed], before.sigma[fixed])
    assert moved(before.mu[free], after.mu[free]) == 1
    assert moved(before.sigma[free], after.sigma[free]) > 0.99
    assert moved(before.norm, after.norm) == 1
    check_fixed(quantized_tensors(run.module.network), run.codebook)
    again = run.train(Phase("next", 1, spec))[1]  # a second fit, with a fresh optimizer
    assert torch.equal(again.mu[fixed], before.mu[fixed])
    assert torch.equal(again.sigma[fixed], before.sigma[fixed])


@pytest.mark.parametrize(
    "regularizer", [ExponentialRegularizer(0.1), LinearOnGradRegularizer(0.1)], ids=lambda r: type(r).__name__
)
def test_other_regularizers_leave_fixed_weights_alone(regularizer: Regularizer, tmp_path: Path) -> None:
    run = prepare(tmp_path, regularizer=regularizer)
    before, after = run.train(Phase("test", 2, HARD[2]))
    assert torch.equal(after.mu[run.fixed], before.mu[run.fixed])
    assert torch.equal(after.sigma[run.fixed], before.sigma[run.fixed])
    assert moved(before.sigma[~run.fixed], after.sigma[~run.fixed]) > 0.99


@pytest.mark.parametrize("spec", HARD, ids=lambda s: f"{type(s).__name__}-{s.lr_schedule}")
def test_under_allow_retraining_fixed_sigmas_go_on_training(spec: OptimizerSpec, tmp_path: Path) -> None:
    run = prepare(tmp_path, "allow_retraining")
    before, after = run.train(Phase("test", 3, spec))
    assert torch.equal(after.mu[run.fixed], before.mu[run.fixed])
    assert moved(before.sigma[run.fixed], after.sigma[run.fixed]) > 0.99
    assert moved(before.mu[~run.fixed], after.mu[~run.fixed]) == 1


@pytest.mark.parametrize("spec", HARD, ids=lambda s: f"{type(s).__name__}-{s.lr_schedule}")
def test_alternate_phases_freeze_what_they_do_not_train(spec: OptimizerSpec, tmp_path: Path) -> None:
    run = prepare(tmp_path)
    fixed, free = run.fixed, ~run.fixed
    before, after = run.train(Phase("mu", 2, spec, noise=False, train_sigma=False))
    assert torch.equal(after.sigma, before.sigma)
    assert torch.equal(after.mu[fixed], before.mu[fixed])
    assert moved(before.mu[free], after.mu[free]) == 1
    assert moved(before.norm, after.norm) == 1
    before, after = run.train(Phase("sigma", 2, spec, train_mu=False, train_others=False))
    assert torch.equal(after.mu, before.mu)
    assert torch.equal(after.norm, before.norm)
    assert torch.equal(after.sigma[fixed], before.sigma[fixed])
    assert moved(before.sigma[free], after.sigma[free]) > 0.99
    assert all(p.requires_grad for p in run.module.parameters()) is False
    before, after = run.train(Phase("others", 2, spec, noise=False, train_mu=False, train_sigma=False))
    assert torch.equal(after.mu, before.mu)
    assert torch.equal(after.sigma, before.sigma)
    assert moved(before.norm, after.norm) == 1
    before, after = run.train(Phase("both", 1, spec))  # what a phase froze is free again
    assert moved(before.mu[free], after.mu[free]) == 1
    assert moved(before.sigma[free], after.sigma[free]) > 0.99
