"""Run train.py; one rank sends itself SIGTERM in a test or a clustering, as PWFN_TEST_SIGNAL says."""

import os
import signal
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

import hydra
from omegaconf import DictConfig

from pwfn.cli import train
from pwfn.clustering.codebooks.codebook import AdditivePow2
from pwfn.config import resolvers
from pwfn.training.module import BayesianClassifier
from tests.support.project import CONF

# the rank, the function and at which of its calls
SIGNALS: dict[str, tuple[str, Any, str, int]] = {
    "test": ("1", BayesianClassifier, "test_step", 3),
    "clustering": ("0", AdditivePow2, "fit", 2),
}


def signal_at(rank: str, owner: Any, name: str, call: int) -> None:
    function, calls = getattr(owner, name), []

    def signalled(*args: Any) -> Any:
        calls.append(1)
        if os.environ.get("LOCAL_RANK", "0") == rank and len(calls) == call:
            os.kill(os.getpid(), signal.SIGTERM)
        return function(*args)

    setattr(owner, name, signalled)


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="train")
def main(cfg: DictConfig) -> None:
    train.train(cfg)


if __name__ == "__main__":
    signal_at(*SIGNALS[os.environ["PWFN_TEST_SIGNAL"]])
    resolvers.register()
    main()
