"""Compress a model: `python train.py experiment=smoke`, `... -m seed=0,1`, `... resume=<folder of a run>`."""

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
    from pwfn import resume
    from pwfn.settings import TrainSettings

    if resume.is_asked(sys.argv[1:]):
        resume.resume(CONF, "train", sys.argv[1:])
    else:
        preflight.preflight(TrainSettings, CONF, "train", sys.argv[1:])
        main()
