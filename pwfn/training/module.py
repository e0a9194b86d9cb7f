"""Define loss, optimizer and metrics of the network for Lightning, phase after phase of one run."""

from __future__ import annotations

from typing import Any, Self

import torch
import torch.nn.functional as F
from pytorch_lightning import LightningModule
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from typing_extensions import override

from pwfn.bayesian.nonfinite import describe
from pwfn.bayesian.posterior import at_mean, quantized_tensors, sampled
from pwfn.bayesian.regularizer import Regularizer
from pwfn.models.accuracy import RunningScores
from pwfn.records.rounds import Scores
from pwfn.training.distillation import Distillation, Teacher
from pwfn.training.distributed import broadcast_statistics
from pwfn.training.loss_watch import LossWatch, diverged
from pwfn.training.optimizer import before_step, build_optimizer
from pwfn.training.phase import Phase
from pwfn.training.waiting import move_to_cpu


class BayesianClassifier(LightningModule):
    """Train a Bayesian network by cross entropy, phase by phase, and test it at the mean weights.

    Args:
        network: one that `pwfn.bayesian.posterior.to_bayesian` has converted; images to logits [images, classes].
        regularizer: what the draw of the weights adds to the loss.
        label_smoothing: share of each label that is spread over all classes; from 0 to 1.
        compile_mode: torch.compile's mode in training; None for no compilation.
        distillation: how the teacher, where there is one, takes part in the loss.
        loss_watch: when a loss that is no number ends the run.
        channels_last: whether network and images are in torch.channels_last; the numbers are the same to rounding.

    Raises:
        ValueError: for a network with gradient checkpointing.
    """

    def __init__(
        self,
        network: nn.Module,
        regularizer: Regularizer,
        *,
        label_smoothing: float = 0.0,
        compile_mode: str | None = None,
        distillation: Distillation | None = None,
        loss_watch: LossWatch | None = None,
        channels_last: bool = False,
    ) -> None:
        super().__init__()
        if any(getattr(module, "grad_checkpointing", False) for module in network.modules()):
            raise ValueError(
                "gradient checkpointing would repeat the forward pass when its draw is over: switch it off"
            )
        self._channels_last = channels_last
        if channels_last:
            network.to(memory_format=torch.channels_last)
        self.network = network
        # Only training runs compiled code, so that what a test computes does not depend on it. In a tuple, because as a
        # module of this one it would give every weight a second name in the state dict.
        self._trained = (network if compile_mode is None else torch.compile(network, mode=compile_mode),)
        self.regularizer = regularizer
        self.label_smoothing = label_smoothing
        self.distillation = distillation
        self.loss_watch = loss_watch or LossWatch()
        self.teacher: Teacher | None = None  # where there is one, every fit learns from it
        self.phase: Phase | None = None
        self.scores: Scores | None = None
        self.validation_scores: Scores | None = None
        self.grad_norm: Tensor | None = None  # of the last step, before clipping; None where nothing was clipped
        self.running = RunningScores()

    def begin(self, phase: Phase) -> None:
        """Choose what the next fit trains; call it before the fit, because DDP looks at requires_grad."""
        self.phase, self.grad_norm = phase, None
        trains = {}
        for tensor in quantized_tensors(self.network):
            trains[id(tensor.mu)], trains[id(tensor.gaussian.sigma)] = phase.train_mu, phase.train_sigma
        for name, parameter in self.network.named_parameters():
            chosen = not phase.layers or name.startswith(tuple(f"{layer}." for layer in phase.layers))
            parameter.requires_grad_(chosen and trains.get(id(parameter), phase.train_others))
            parameter.grad = None  # that of the fit before would be clipped, and decayed, with what trains now

    @property
    def current_phase(self) -> Phase:
        """Return the phase of the present or the last fit.

        Raises:
            RuntimeError: there was none.
        """
        if self.phase is None:
            raise RuntimeError("call begin(phase) before fitting")
        return self.phase

    @override
    def cpu(self) -> Self:
        """Move to the CPU, where a round is clustered; Lightning asks for it after each fit."""
        move_to_cpu(self)
        return self

    @override
    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network(images)
        return logits

    @override
    def on_fit_start(self) -> None:
        if self.teacher is not None:
            self.teacher.to(self.device)

    @override
    def on_train_start(self) -> None:
        if isinstance(self.trainer.model, DistributedDataParallel):
            # DDP would send every buffer from rank 0 at each forward pass, but BatchNorm's statistics are wanted only
            # where the network is tested, and no other buffer changes in training.
            self.trainer.model.broadcast_buffers = False

    @override
    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        images, labels = self._laid_out(batch)
        drawn = sampled(self.network, self.regularizer) if self.current_phase.noise else at_mean(self.network)
        with drawn as penalty:
            logits = self._trained[0](images)
            cross_entropy = F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)
            losses, of_data = {"cross_entropy": cross_entropy, "regularizer": penalty}, cross_entropy
            if self.teacher is not None and self.distillation is not None:
                losses["distillation"] = self.distillation.divergence(logits, self.teacher(images))
                of_data = self.distillation.mixed(cross_entropy, losses["distillation"])
            loss = of_data + penalty
            self._watch(loss, losses, images)
        losses = {name: value.detach() for name, value in losses.items()}
        self.log_dict({f"train/{name}": value for name, value in losses.items()})
        return {"loss": loss, **losses}

    def _laid_out(self, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        images, labels = batch
        return images.to(memory_format=torch.channels_last) if self._channels_last else images, labels

    def _watch(self, loss: Tensor, terms: dict[str, Tensor], images: Tensor) -> None:
        """End the run where the loss is not finite; called with the draw in place."""
        phase = self.current_phase
        where, lr_key = f"{phase.label}, step {self.global_step}", phase.lr_key
        if not self.loss_watch.reads_at_once(loss):
            self.loss_watch.add(loss, terms, where=where, lr_key=lr_key)
        elif not torch.isfinite(loss):
            cause = describe(self.network, images)
            raise diverged(loss, terms, where=where, lr_key=lr_key, cause=cause)

    @override
    def on_train_epoch_end(self) -> None:
        self.loss_watch.check()

    @override
    def on_validation_epoch_start(self) -> None:
        broadcast_statistics(self.network)
        self.running.reset()

    @override
    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self._update(batch)

    @override
    def on_validation_epoch_end(self) -> None:
        scores = self.validation_scores = self.running.scores()
        if self.trainer.state.fn == TrainerFn.FITTING:  # between fits the record of the round has them
            self.log_dict({"val/top1": scores.top1, "val/top5": scores.top5, "val/loss": scores.loss})

    @override
    def on_test_epoch_start(self) -> None:
        self.running.reset()

    @override
    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self._update(batch)

    @override
    def on_test_epoch_end(self) -> None:
        self.scores = self.running.scores()

    def _update(self, batch: tuple[Tensor, Tensor]) -> None:
        images, labels = self._laid_out(batch)
        self.running.update(self.network(images), labels)

    @override
    def configure_optimizers(self) -> Any:
        phase = self.current_phase
        scaler = getattr(self.trainer.precision_plugin, "scaler", None)
        optimizer = build_optimizer(self.network, phase.optimizer, scaled=scaler is not None)
        # Lightning's estimate covers every epoch of the trainer, those of earlier phases included.
        steps = int(self.trainer.estimated_stepping_batches) // int(self.trainer.max_epochs or 1) * phase.epochs
        schedule = LambdaLR(optimizer, lambda step: phase.optimizer.lr_factor(step, steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    @override
    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        self.grad_norm = before_step(self.network, self.current_phase.optimizer, optimizer)
