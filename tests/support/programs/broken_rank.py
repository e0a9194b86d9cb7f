"""Run train.py with a fault at the second training step of rank 1, in round 1; PWFN_TEST_FAULT names it."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

import hydra
from omegaconf import DictConfig
from torch import Tensor, nn

from pwfn.cli import train
from pwfn.config import resolvers
from pwfn.training.module import BayesianClassifier
from tests.support.project import CONF

steps: list[int] = []
training_step = BayesianClassifier.training_step


def error(module: BayesianClassifier) -> None:
    raise ValueError("rank 1 is broken")


def drift(module: BayesianClassifier) -> None:
    nn.init.zeros_(next(iter(module.network.parameters())))


FAULTS: dict[str, Callable[[BayesianClassifier], None]] = {"error": error, "drift": drift}


def broken_step(self: BayesianClassifier, batch: Any, index: int) -> Tensor:
    steps.append(index)
    if os.environ.get("LOCAL_RANK") == "1" and len(steps) == 2:
        FAULTS[os.environ["PWFN_TEST_FAULT"]](self)
    return training_step(self, batch, index)


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="train")
def main(cfg: DictConfig) -> None:
    train.train(cfg)


if __name__ == "__main__":
    BayesianClassifier.training_step = broken_step
    resolvers.register()
    main()
