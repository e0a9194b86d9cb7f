"""Real fits: each phase's learning rates, and what accumulation and mixed precision make of one optimizer step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from pytorch_lightning import Callback
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from pwfn.bayesian.posterior import quantized_tensors, sampled, to_bayesian
from pwfn.bayesian.regularizer import LinearRegularizer
from pwfn.training.module import BayesianClassifier
from pwfn.training.optimizer import SGD, AdamW
from pwfn.training.phase import Phase
from tests.support.runs.toy_fits import classifier, trainer


class LearningRates(Callback):
    """Notes the learning rate of every optimizer step."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_before_optimizer_step(self, trainer, module, optimizer) -> None:  # type: ignore[no-untyped-def]
        self.seen.append(optimizer.param_groups[0]["lr"])


class Reseeded(Callback):
    """Has the first batch, and what follows, draw the noise of seed 5, whatever was drawn before."""

    def on_train_batch_start(self, trainer, module, batch, batch_idx) -> None:  # type: ignore[no-untyped-def]
        if batch_idx == 0:
            torch.manual_seed(5)


def sigma_after_one_step(folder: Path, images: Tensor, labels: Tensor, batch_size: int, **options: Any) -> Tensor:
    """Sigma of the weights after one step of learning rate 1, in which a strong regularizer moves them much."""
    module = classifier(strength=1.0)
    module.begin(Phase("phase", 1, SGD(lr=1.0, momentum=0.0, weight_decay=0.0, clip_norm=None)))
    trainer_ = trainer(folder, Reseeded(), **options)
    trainer_.fit_loop.max_epochs = 1
    trainer_.fit(module, DataLoader(TensorDataset(images, labels), batch_size=batch_size))
    assert trainer_.global_step == 1
    return quantized_tensors(module.network)[0].gaussian.sigma.detach().clone()


@pytest.mark.filterwarnings("ignore")
def test_gradient_checkpointing_is_refused() -> None:
    network = timm.create_model("test_vit", num_classes=3)
    to_bayesian(network)
    network.set_grad_checkpointing()
    with pytest.raises(ValueError, match="gradient checkpointing would repeat the forward pass"):
        BayesianClassifier(network, LinearRegularizer())


def test_accumulated_batches_count_the_regularizer_once_a_step(tmp_path: Path) -> None:
    """A step of k batches follows the mean of k draws: as much regularizer as a step of one, with other noise."""
    images, labels = torch.randn(8, 1, 3, 3), torch.randint(3, (8,))
    together = sigma_after_one_step(tmp_path, images, labels, 2, accumulate_grad_batches=4)
    module = classifier(strength=1.0)
    (weight, *_) = quantized_tensors(module.network)
    torch.manual_seed(5)
    gradients = []
    for part, its in zip(images.split(2), labels.split(2), strict=True):
        with sampled(module.network, module.regularizer) as penalty:
            loss = nn.functional.cross_entropy(module.network(part), its) + penalty
        gradients.append(torch.autograd.grad(loss, weight.gaussian.sigma)[0])
    mean = torch.stack(gradients).mean(0)
    torch.testing.assert_close(together, weight.gaussian.sigma.detach() - mean)


@pytest.mark.filterwarnings("ignore")
def test_mixed_precision_trains_the_same_float32_weights(tmp_path: Path) -> None:
    images, labels = torch.randn(8, 1, 3, 3), torch.randint(3, (8,))
    plain = sigma_after_one_step(tmp_path, images, labels, 8)
    mixed = sigma_after_one_step(tmp_path, images, labels, 8, precision="bf16-mixed")
    assert mixed.dtype == torch.float32
    moved, rounded = plain - 1e-3, mixed - 1e-3
    assert 0 < (rounded - moved).norm() < 0.01 * moved.norm()  # bfloat16 holds 8 binary digits


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("accumulate", "steps_an_epoch"), [(1, 6), (3, 2), (4, 2)])  # a last, smaller step counts
def test_every_phase_goes_through_its_whole_schedule(accumulate: int, steps_an_epoch: int, tmp_path: Path) -> None:
    module = classifier()
    rates = LearningRates()
    trainer_ = trainer(tmp_path, rates, accumulate_grad_batches=accumulate)
    images, labels = torch.randn(48, 1, 3, 3), torch.randint(3, (48,))
    optimizer = SGD(lr=0.5, lr_schedule="linear")
    for epochs in (1, 3, 2):
        rates.seen.clear()
        module.begin(Phase("phase", epochs, optimizer))
        trainer_.fit_loop.max_epochs = trainer_.current_epoch + epochs
        trainer_.fit(module, DataLoader(TensorDataset(images, labels), batch_size=8))
        steps = epochs * steps_an_epoch
        assert rates.seen == pytest.approx([0.5 * (1 - step / steps) for step in range(steps)])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_compiled_training_draws_the_same_noise_and_names_nothing_anew(tmp_path: Path) -> None:
    images, labels = torch.randn(8, 1, 3, 3), torch.randint(3, (8,))
    torch._dynamo.utils.counters.clear()
    states = []
    for mode in (None, "default", "reduce-overhead"):
        plain = classifier()
        module = BayesianClassifier(plain.network, plain.regularizer, compile_mode=mode)
        module.begin(Phase("phase", 2, SGD(lr=0.5)))
        trainer_ = trainer(tmp_path, Reseeded())
        trainer_.fit_loop.max_epochs = 2
        trainer_.fit(module, DataLoader(TensorDataset(images, labels), batch_size=2))
        states.append(module.state_dict())
    for state in states[1:]:
        assert list(states[0]) == list(state)
        torch.testing.assert_close(states[0], state)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 2  # one for each mode, not one for each draw


@pytest.mark.filterwarnings("ignore")
def test_a_phase_that_trains_sigma_alone_leaves_the_means_where_they_are(tmp_path: Path) -> None:
    """Neither the decay nor the clipping of it meets the gradients that the phase before has left."""
    torch.manual_seed(1)
    images, labels = torch.randn(8, 1, 3, 3), torch.arange(8) % 3
    module, spec = classifier(), AdamW(lr=0.01, weight_decay=0.5, clip_norm=1.0)
    fits = trainer(tmp_path)
    phases = (
        Phase("mu", 1, spec, noise=False, train_sigma=False),
        Phase("sigma", 1, spec, train_mu=False, train_others=False),
    )
    seen = []
    for number, phase in enumerate(phases, 1):
        module.begin(phase)
        assert all(parameter.grad is None for parameter in module.network.parameters())
        fits.fit_loop.max_epochs = number
        fits.fit(module, DataLoader(TensorDataset(images, labels), batch_size=8))
        weight = quantized_tensors(module.network)[0]
        seen.append((weight.mu.detach().clone(), weight.gaussian.sigma.detach().clone()))
    assert torch.equal(seen[0][0], seen[1][0])
    assert not torch.equal(seen[0][1], seen[1][1])
