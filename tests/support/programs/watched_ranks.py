"""Run train.py and write down, for each rank, what it draws in training and the network it ends with (rank<n>.json)."""

import hashlib
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

import hydra
import torch
from omegaconf import DictConfig
from torch import Tensor

from pwfn.cli import train
from pwfn.config import resolvers
from pwfn.run import start
from pwfn.run.start import Finished
from pwfn.training.module import BayesianClassifier
from tests.support.project import CONF

drawn: list[list[str]] = []
broadcasts: set[bool] = set()
training_step, run = BayesianClassifier.training_step, start.run


def digest(tensors: Iterable[Tensor]) -> str:
    return hashlib.sha256(b"".join(t.detach().numpy().tobytes() for t in tensors)).hexdigest()


def watched_step(self: BayesianClassifier, batch: Any, index: int) -> Tensor:
    broadcasts.add(self.trainer.model.will_sync_module_buffers())  # whether DDP broadcasts buffers at each forward pass
    if self.phase.noise:
        drawn.append([torch.get_rng_state().numpy().tobytes().hex()[:4000], digest([batch[0]])])
    return training_step(self, batch, index)


def watched_run(*args: Any, **options: Any) -> Finished:
    finished = run(*args, **options)
    seen = {
        "drawn": drawn,
        "broadcasts": sorted(broadcasts),
        "network": {name: digest([value]) for name, value in finished.network.state_dict().items()},
        "losses": [record.clustered.loss for record in finished.records],
    }
    Path(f"rank{os.environ.get('LOCAL_RANK', '0')}.json").write_text(json.dumps(seen))
    return finished


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="train")
def main(cfg: DictConfig) -> None:
    train.train(cfg)


if __name__ == "__main__":
    BayesianClassifier.training_step = watched_step
    start.run = watched_run
    resolvers.register()
    main()
