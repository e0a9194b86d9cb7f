"""The whole configuration of a run as types: what `conf/train.yaml` must add up to."""

from __future__ import annotations

import math
import os
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch

from pwfn.bayesian.prior import Prior
from pwfn.bayesian.regularizer import Regularizer
from pwfn.clustering.codebook import Codebook
from pwfn.clustering.rules import Rule
from pwfn.clustering.sigma_join import SigmaJoin
from pwfn.clustering.tolerance import Tolerance
from pwfn.data import ImageData
from pwfn.errors import Fault, InvalidValueError, require
from pwfn.models.timm_model import ModelSpec
from pwfn.monitoring.loggers import LoggerSpec
from pwfn.run.accuracy_guard import CostlyRound
from pwfn.run.finishing import Finishing
from pwfn.run.schedule import Schedule
from pwfn.training.distillation import Distillation
from pwfn.training.optimizer import OptimizerSpec

if TYPE_CHECKING:
    from pytorch_lightning import Callback, Trainer
    from pytorch_lightning.loggers import Logger


def _can_compile() -> bool:
    """torch.compile writes C++ for the CPU; for a GPU it brings what it needs."""
    compilers = (os.environ.get("CXX", ""), "c++", "g++", "clang++")
    return torch.cuda.is_available() or any(compiler and shutil.which(compiler) for compiler in compilers)


@dataclass(frozen=True)
class Pretraining:
    """An ordinary training before the network becomes Bayesian, for data without pretrained weights."""

    epochs: int
    optimizer: OptimizerSpec

    def __post_init__(self) -> None:
        require(self, epochs=(self.epochs >= 0, "an integer from 0"))


@dataclass(frozen=True)
class TrainerSpec:
    """Where and how Lightning runs; `devices` processes on each of `num_nodes` machines."""

    accelerator: Literal["cpu", "gpu", "auto"] = "auto"
    devices: int = 1
    num_nodes: int = 1
    strategy: Literal["auto", "ddp"] = "auto"
    precision: Literal["32-true", "16-mixed", "bf16-mixed"] = "32-true"
    accumulate_grad_batches: int = 1
    deterministic: bool = False
    log_every_n_steps: int = 20

    def __post_init__(self) -> None:
        cuda = torch.cuda.is_available()
        on_gpu = self.accelerator == "gpu" or (self.accelerator == "auto" and cuda)
        gpus = torch.cuda.device_count() if on_gpu else self.devices
        several = self.devices * self.num_nodes > 1
        require(
            self,
            accelerator=(self.accelerator != "gpu" or cuda, "cpu or auto: this machine has no CUDA device"),
            devices=(
                1 <= self.devices <= max(1, gpus),
                f"from 1 to {gpus}, the GPUs here" if on_gpu else "an integer from 1",
            ),
            num_nodes=(self.num_nodes >= 1, "an integer from 1"),
            strategy=(self.strategy == "ddp" or not several, "ddp when there is more than one process"),
            precision=(
                self.precision != "16-mixed" or on_gpu,
                "32-true or bf16-mixed on the CPU",
            ),
            accumulate_grad_batches=(self.accumulate_grad_batches >= 1, "an integer from 1"),
            log_every_n_steps=(self.log_every_n_steps >= 1, "an integer from 1"),
        )

    def build(self, *, folder: str, callbacks: list[Callback], logger: Logger | None) -> Trainer:
        """The one trainer of a run. It is quiet: `pwfn.monitoring.progress` shows what goes on, `pwfn.run.round_loop` saves."""
        from pytorch_lightning import Trainer

        return Trainer(
            accelerator=self.accelerator,
            devices=self.devices,
            num_nodes=self.num_nodes,
            strategy=self.strategy,
            precision=self.precision,
            accumulate_grad_batches=self.accumulate_grad_batches,
            deterministic=self.deterministic,
            log_every_n_steps=self.log_every_n_steps,
            default_root_dir=folder,
            callbacks=callbacks,
            logger=logger or False,
            max_epochs=0,
            use_distributed_sampler=False,  # the loaders know their rank themselves
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )


@dataclass(frozen=True)
class ArtifactSpec:
    """What goes into `model.pwfn`, which every run ends with, and whether every round leaves one of its own."""

    every_round: bool
    sigma: bool


@dataclass(frozen=True)
class CheckpointSpec:
    """How often a run is saved beside the end of every round, and how many checkpoints are kept."""

    every_minutes: float | None
    every_steps: int | None
    keep: int

    def __post_init__(self) -> None:
        require(
            self,
            every_minutes=(
                self.every_minutes is None or 0 < self.every_minutes < math.inf,
                "a number above 0, or null",
            ),
            every_steps=(self.every_steps is None or self.every_steps >= 1, "an integer from 1, or null"),
            keep=(self.keep >= 1, "an integer from 1"),
        )


@dataclass(frozen=True)
class TrainSettings:
    """One run of `train.py`; the fields are the config groups, in the order of `conf/train.yaml`."""

    seed: int
    name: str | None
    quiet: bool
    report: bool
    dry_run: bool
    inspect: bool
    label_smoothing: float
    compile: bool
    model: ModelSpec
    data: ImageData
    pretrain: Pretraining
    prior: Prior
    regularizer: Regularizer
    codebook: Codebook
    clustering: Rule
    sigma_join: SigmaJoin
    tolerance: Tolerance
    noise: bool
    schedule: Schedule
    optimizer: OptimizerSpec
    distillation: Distillation
    finish: Finishing
    trainer: TrainerSpec
    logger: LoggerSpec
    artifact: ArtifactSpec
    checkpoint: CheckpointSpec
    costly_round: CostlyRound

    @property
    def rounds_in_all(self) -> int:
        """The rounds of the schedule, and the finishing, which is recorded as one more."""
        return self.schedule.rounds + self.finish.wanted

    @property
    def learns_sigma(self) -> bool:
        """Whether any round trains under noise, which is what sigma is learned from."""
        return self.noise and any(self.schedule.epochs(index) for index in range(self.schedule.rounds))

    @property
    def remarks(self) -> list[str]:
        """What is allowed, but may not be what was meant."""
        remark = self.tolerance.without_noise
        return [remark] if remark and not self.noise else []

    @property
    def epochs_of_rounds(self) -> list[float]:
        """How many epochs each of `rounds_in_all` trains, shares of the images counted as such."""
        schedule = self.schedule
        fits = 1 if schedule.training == "joint" else 2
        epochs = [fits * schedule.epochs(index) * schedule.share(index) for index in range(schedule.rounds)]
        return [*epochs, *([float(self.finish.epochs)] if self.finish.wanted else [])]

    @property
    def _teaches_nothing(self) -> bool:
        trains = not (self.dry_run or self.inspect)
        return trains and self.model.random_weights and self.pretrain.epochs == 0

    @staticmethod
    def option_hint(group: str, option: str) -> str | None:
        """How to write what was meant by an option that a config group does not have."""
        import timm

        if group == "model" and timm.is_model(option.partition(".")[0]):
            return f"for this timm model write model=timm model.name={option}"
        return None

    def __post_init__(self) -> None:
        require(
            self,
            seed=(0 <= self.seed < 2**32, "an integer from 0 to 4294967295"),
            inspect=(not (self.inspect and self.dry_run), "false where dry_run is true: one of them at a time"),
            compile=(
                not self.compile or _can_compile(),
                "false: the CPU needs a C++ compiler (c++, g++, clang++ or $CXX)",
            ),
            label_smoothing=(0 <= self.label_smoothing < 1, "from 0 to below 1"),
        )
        faults = [Fault(name, value, allowed) for name, value, holds, allowed in self._contradictions() if not holds]
        if faults:
            raise InvalidValueError(faults)

    def _contradictions(self) -> list[tuple[str, Any, bool, str]]:
        batch, images = self.data.batch_size, self.data.train_images
        ceiling = getattr(self.regularizer, "ceiling", None)
        start = getattr(self.prior, "ceiling", getattr(self.prior, "sigma", 0.0))
        return [
            (
                "data.batch_size",
                batch,
                images is None or batch <= images,
                f"at most data.train_images = {images}",
            ),
            (
                "regularizer.ceiling",
                ceiling,
                ceiling is None or ceiling >= start,
                f"at least the prior's largest sigma, {start}: sigmas above the ceiling are never held up",
            ),
            (
                "schedule.training",
                self.schedule.training,
                self.noise or self.schedule.training == "joint",
                "joint where noise is false: the other way trains sigma alone, and only noise can",
            ),
            (
                "distillation.weight",
                self.distillation.weight,
                self.distillation.weight == 0 or not self._teaches_nothing,
                "0 where model starts from random weights and pretrain.epochs is 0: they have nothing to teach",
            ),
        ]
