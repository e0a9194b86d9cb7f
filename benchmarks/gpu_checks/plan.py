"""Say what the checks of benchmarks/gpu.py measure and where, and hold their figures."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import torch

PROJECT = Path(__file__).resolve().parents[2]
FIXED = 0.9


@dataclass(frozen=True)
class Case:
    """Pair a network with its batch."""

    model: str
    pixels: int
    batch: int
    channels_last: bool = False


@dataclass(frozen=True)
class Row:
    """Hold a figure and its limit; `value` is None where it was not measured."""

    check: str
    case: str
    value: float | None
    limit: float
    at_most: bool = True
    counts: bool = True  # towards the exit code
    note: str = ""

    @property
    def ok(self) -> bool:
        """Tell whether the limit holds."""
        if self.value is None:
            return False
        return self.value <= self.limit if self.at_most else self.value >= self.limit


@dataclass(frozen=True)
class Plan:
    """Say where and with what is measured."""

    device: str
    cases: tuple[Case, ...]
    compiled: tuple[Case, ...]
    blocks: int  # of steps of each kind, in turn
    steps: int  # of a block
    trainer: tuple[str, ...]
    program: tuple[str, ...]  # the overrides of the run whose throughput is measured
    kills: int

    @property
    def smoke(self) -> bool:
        """Tell whether this is no GPU, so that figures say nothing."""
        return self.device == "cpu"


DEIT = Case("deit_tiny_patch16_224", 224, 256)
RESNET = Case("resnet50", 224, 128, channels_last=True)
PROGRAM = (
    "data=synthetic", "data.channels=3", "data.num_classes=1000", "data.test_size=128", "pretrain=none",
    "schedule.fractions=[1.0]", "tolerance=sigma", "logger=csv", "report=false",
)  # fmt: skip
GPU = Plan(
    "cuda",
    cases=(DEIT, RESNET, Case("densenet161", 224, 32)),
    compiled=(DEIT, RESNET),
    blocks=5,
    steps=5,
    trainer=("trainer=gpu",),
    program=(
        "model=resnet50", "data.pixels=224", "data.image_size=224", "data.train_size=12800", "data.batch_size=128",
        f"data.num_workers={min(12, os.cpu_count() or 1)}", "trainer.precision=bf16-mixed",
    ),
    kills=2,
)  # fmt: skip
SMOKE = Plan(
    "cpu",
    cases=(Case("test_resnet", 32, 4, channels_last=True),),
    compiled=(),
    blocks=1,
    steps=2,
    trainer=("trainer=cpu",),
    program=("model=test_resnet", "data.pixels=32", "data.image_size=32", "data.train_size=160", "data.batch_size=4"),
    kills=1,
)


def finish(plan: Plan) -> None:
    """Wait for the device."""
    if not plan.smoke:
        torch.cuda.synchronize()
