"""Compress a model: `python train.py`, `python train.py experiment=smoke`, `python train.py -m seed=0,1 ...`."""

import sys
from pathlib import Path

import hydra
from omegaconf import DictConfig

from pwfn import preflight, resolvers

CONF = Path(__file__).parent / "conf"


@hydra.main(version_base="1.3", config_path="conf", config_name="train")
def main(cfg: DictConfig) -> float:
    from pwfn.task import train  # torch and Lightning are imported only once something is to be run

    return train(cfg)


if __name__ == "__main__":
    resolvers.register()
    from pwfn.settings import TrainSettings

    preflight.preflight(TrainSettings, CONF, "train", sys.argv[1:])
    main()
