"""Check the whole configuration of a run: the types and rules behind `conf/train.yaml`."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from typing import Any, Literal

import torch

from pwfn.bayesian.kernels import AUTO, installed_kernels
from pwfn.bayesian.prior import Prior
from pwfn.bayesian.regularizer import Regularizer
from pwfn.bayesian.starting_sigma import StartingSigma
from pwfn.checkpoint.spec import CheckpointSpec
from pwfn.clustering.codebooks.codebook import Codebook
from pwfn.clustering.rules import Rule
from pwfn.clustering.second_order import SecondOrder
from pwfn.clustering.sigma_join import SigmaJoin
from pwfn.clustering.tolerance import Tolerance
from pwfn.data import ImageData
from pwfn.errors import Check, require_all
from pwfn.models.timm_model import ModelSpec
from pwfn.monitoring.loggers.spec import LoggerSpec
from pwfn.monitoring.wandb.variables import LONGEST_NAME, is_name
from pwfn.post_training.budget import Budget
from pwfn.run.ending.artifact_spec import ArtifactSpec
from pwfn.run.ending.finishing import Finishing
from pwfn.run.ending.kept_files import Keep
from pwfn.run.pretraining import Pretraining
from pwfn.run.rounds.accuracy_guard import CostlyRound
from pwfn.run.rounds.schedule import Schedule
from pwfn.training.distillation import Distillation
from pwfn.training.launch import launch_fault
from pwfn.training.optimizer import OptimizerSpec
from pwfn.training.trainer import TrainerSpec
from pwfn.value_kinds import FreeText


def _can_compile() -> bool:
    # torch.compile writes C++ for the CPU; for a GPU it brings what it needs
    compilers = (os.environ.get("CXX", ""), "c++", "g++", "clang++")
    return torch.cuda.is_available() or any(compiler and shutil.which(compiler) for compiler in compilers)


@dataclass(frozen=True)
class TrainSettings:
    """Hold the settings of one run of `train.py`, each checked.

    The fields are the config groups, in the order of `conf/train.yaml`, which says what each of them means.
    """

    seed: int
    name: FreeText | None
    quiet: bool
    report: bool
    resume: Literal["auto"] | None
    keep: Keep
    dry_run: bool
    inspect: bool
    label_smoothing: float
    kernels: str
    detect: Literal["auto", "immediate"]
    compile: bool
    compile_mode: Literal["default", "reduce-overhead", "max-autotune-no-cudagraphs", "max-autotune"]
    model: ModelSpec
    data: ImageData
    pretrain: Pretraining
    prior: Prior
    regularizer: Regularizer
    codebook: Codebook
    clustering: Rule
    sigma_join: SigmaJoin
    sigma: StartingSigma
    tolerance: Tolerance
    noise: bool
    schedule: Schedule
    optimizer: OptimizerSpec
    distillation: Distillation
    finish: Finishing
    trainer: TrainerSpec
    logger: LoggerSpec
    artifact: ArtifactSpec
    budget: Budget
    checkpoint: CheckpointSpec
    costly_round: CostlyRound

    @property
    def rounds_in_all(self) -> int:
        """Count the rounds of the schedule, and the finishing, which is recorded as one more."""
        return self.schedule.rounds + self.finish.wanted

    @property
    def learns_sigma(self) -> bool:
        """Tell whether any round trains under noise, which is what sigma is learned from."""
        return self.noise and self.schedule.trains

    @property
    def has_posterior(self) -> bool:
        """Tell whether draws of the weights mean something: sigma was learned, or is a posterior's."""
        return self.learns_sigma or self.sigma.is_posterior

    @property
    def remarks(self) -> list[str]:
        """Return a line for each setting that is allowed, but may not be what was meant."""
        remark, pretrain = self.tolerance.without_noise, self.pretrain
        untold = self.noise or self.sigma.is_posterior
        remarks = [*([remark] if remark and not untold else []), *self.logger.remarks]
        if self.sigma.is_posterior and not self.sigma_join.keeps_own:
            remarks.append(
                f"sigma_join = {type(self.sigma_join).__name__}: clustered weights do not keep the sigmas of "
                f"{type(self.sigma).__name__}; sigma_join=keep does"
            )
        if self._starts_and_stays_random:
            remarks.append(
                f"{self.model.name} starts from RANDOM weights and pretrain.epochs is 0: set model.pretrained=true, "
                "model.checkpoint=<file> or pretrain.epochs, or expect the accuracy of guessing"
            )
        if not self.model.random_weights and pretrain.epochs and not pretrain.head_epochs:
            remarks.append(
                f"the weights from {self.model.weights_from} are trained on for {pretrain.epochs} epochs (learning "
                f"rate {pretrain.optimizer.lr:g}) before anything is fixed; pretrain=none keeps them as they are"
            )
        return remarks

    @property
    def epochs_of_rounds(self) -> list[float]:
        """Count the epochs of each of `rounds_in_all`, a share of the training images counted as such."""
        schedule = self.schedule
        epochs = [sum(fit.passes for fit in schedule.fits(index)) for index in range(schedule.rounds)]
        return [*epochs, *([float(self.finish.epochs)] if self.finish.wanted else [])]

    @property
    def _starts_and_stays_random(self) -> bool:
        trains = not (self.dry_run or self.inspect)
        return trains and self.model.random_weights and not self.pretrain.trains

    @staticmethod
    def option_hint(group: str, option: str) -> str | None:
        """Suggest how to write what was meant by an option that a config group does not have."""
        import timm

        if group == "model" and timm.is_model(option.partition(".")[0]):
            return f"for this timm model write model=timm model.name={option}"
        return None

    def launch_faults(self) -> list[str]:
        """Return a line where a cluster's launcher has started other processes than the trainer is to have."""
        fault = launch_fault(self.trainer.devices, self.trainer.num_nodes)
        return [] if fault is None or self.inspect or self.dry_run else [fault]

    def __post_init__(self) -> None:
        require_all(self.checks())

    def checks(self) -> list[Check]:
        """Return what must hold, also between settings; each check reads its values only when it is called."""
        # numba, where it is installed, takes a second to import
        kernels = [AUTO] if self.kernels == AUTO else installed_kernels()
        compiler = "false: the CPU needs a C++ compiler (c++, g++, clang++ or $CXX)"
        one_at_a_time = "false where dry_run is true: one of them at a time"
        joint = "joint where noise is false: the other way trains sigma alone, and only noise can"
        no_teacher = "0 where model starts from random weights and pretrain.epochs is 0: they have nothing to teach"
        return [
            lambda: ("seed", self.seed, 0 <= self.seed < 2**32, "an integer from 0 to 4294967295"),
            lambda: (
                "name",
                n := self.name,
                n is None or is_name(n, LONGEST_NAME),
                f"of 1 to {LONGEST_NAME} characters",
            ),
            lambda: ("inspect", self.inspect, not (self.inspect and self.dry_run), one_at_a_time),
            lambda: ("kernels", self.kernels, self.kernels in kernels, f"one of {', '.join(kernels)}"),
            lambda: ("compile", self.compile, not self.compile or _can_compile(), compiler),
            lambda: (
                "compile_mode",
                self.compile_mode,
                self.compile or self.compile_mode == "default",
                "default where compile is false",
            ),
            lambda: ("label_smoothing", self.label_smoothing, 0 <= self.label_smoothing < 1, "from 0 to below 1"),
            self._fits_into_a_batch,
            self._budget_can_be_met,
            self._ceiling_is_above_the_prior,
            lambda: ("schedule.training", t := self.schedule.training, self.noise or t == "joint", joint),
            lambda: (
                "distillation.weight",
                w := self.distillation.weight,
                w == 0 or not self._starts_and_stays_random,
                no_teacher,
            ),
        ]

    def _fits_into_a_batch(self) -> tuple[str, Any, bool, str]:
        data, batch = self.data, self.data.batch_size
        images = data.train_images or data.known_images
        chosen = "data.train_images = " if data.train_images else "the number of training images, "
        return "data.batch_size", batch, images is None or batch <= images, f"at most {chosen}{images}"

    def _budget_can_be_met(self) -> tuple[str, Any, bool, str]:
        (name, value), *_ = [(n, v) for n, v in vars(self.budget).items() if v is not None] or [("drop", None)]
        at_once = isinstance(self.clustering, SecondOrder) and self.schedule.rounds == 1 and not self.schedule.trains
        allowed = "null, unless clustering=second_order clusters in one round without training: schedule=one_shot"
        return f"budget.{name}", value, value is None or at_once, allowed

    def _ceiling_is_above_the_prior(self) -> tuple[str, Any, bool, str]:
        ceiling = getattr(self.regularizer, "ceiling", None)
        start = getattr(self.prior, "ceiling", getattr(self.prior, "sigma", 0.0))
        allowed = f"at least the prior's largest sigma, {start}: sigmas above the ceiling are never held up"
        return "regularizer.ceiling", ceiling, ceiling is None or ceiling >= start, allowed
