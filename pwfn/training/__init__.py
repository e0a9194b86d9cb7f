"""Train one fit: module, phase, optimizer, distillation, devices and ranks."""

from pwfn.training.distillation import Distillation
from pwfn.training.optimizer import SGD, Adam, AdamW, OptimizerSpec, before_step, build_optimizer
from pwfn.training.phase import Phase, TrainingDiverged
from pwfn.training.trainer import TrainerSpec

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "Distillation",
    "OptimizerSpec",
    "Phase",
    "TrainerSpec",
    "TrainingDiverged",
    "before_step",
    "build_optimizer",
]
