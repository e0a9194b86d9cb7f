"""Run `train.py`, `pwfn train`: one run, a sweep, or the rest of either."""

from __future__ import annotations

import sys

from omegaconf import DictConfig

from pwfn.cli import hydra_program
from pwfn.config import preflight, program
from pwfn.config.key_hints import KeyHints
from pwfn.config.text_values import with_homes
from pwfn.monitoring.several_loggers import spelled_out
from pwfn.sweep import parent_watch


def main() -> None:
    """Check the command line of `sys.argv` and do what it asks for."""
    parent_watch.stop_with_parent()
    hydra_program.prepare()
    from pwfn.cli import again, given_folder, resume
    from pwfn.run.settings import TrainSettings
    from pwfn.sweep import resume as resume_sweep

    sys.argv[1:] = with_homes(spelled_out(sys.argv[1:]), KeyHints(TrainSettings), also=("resume", "resume_sweep"))
    if resume_sweep.is_asked(sys.argv[1:]):
        sys.argv[1:] = resume_sweep.resumed_arguments(sys.argv[1:])
    if resume.is_asked(sys.argv[1:]):
        with program.whole_arguments():
            resume.resume(program.conf_folder(), "train", program.arguments())
    else:
        again.refuse_without_folder(sys.argv[1:])
        preflight.preflight(TrainSettings, program.conf_folder(), "train", sys.argv[1:], TrainSettings.launch_faults)
        with given_folder.owned(sys.argv[1:]):
            hydra_program.start(train, "train")


def train(cfg: DictConfig) -> float:
    """Run one job in this process, by the function of the same name in `train_task`."""
    with program.whole_arguments():
        from pwfn.cli import train_task  # torch and Lightning are imported only once something is to be run

        return train_task.train(cfg)
