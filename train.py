"""Compress a model: `python train.py experiment=smoke`, `... -m seed=0,1`, `... resume=<folder of a run>`,
`... -m resume_sweep=<folder of a sweep>`."""

import sys
from pathlib import Path

import hydra
from omegaconf import DictConfig

from pwfn.config import preflight, resolvers
from pwfn.sweep import parent_watch

CONF = Path(__file__).parent / "conf"


@hydra.main(version_base="1.3", config_path="conf", config_name="train")
def main(cfg: DictConfig) -> float:
    from pwfn.cli.train import train  # torch and Lightning are imported only once something is to be run

    return train(cfg)


if __name__ == "__main__":
    parent_watch.stop_with_parent()
    resolvers.register()
    from pwfn.cli import resume
    from pwfn.run.settings import TrainSettings
    from pwfn.sweep import resume as resume_sweep

    if resume_sweep.is_asked(sys.argv[1:]):
        program = str(Path(sys.argv[0]).absolute())  # before the working directory may become that of the sweep
        sys.argv = [program, *resume_sweep.resumed_arguments(sys.argv[1:])]
    if resume.is_asked(sys.argv[1:]):
        resume.resume(CONF, "train", sys.argv[1:])
    else:
        preflight.preflight(TrainSettings, CONF, "train", sys.argv[1:])
        main()
