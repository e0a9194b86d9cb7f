"""Run `train.py`, `pwfn train`: one run, a sweep, or the rest of either."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from pwfn.cli import hydra_program
from pwfn.cli.outline import outline
from pwfn.config import preflight, program
from pwfn.config.key_hints import KeyHints
from pwfn.config.wording.text_values import with_homes
from pwfn.monitoring.loggers.several_loggers import spelled_out
from pwfn.sweep import parent_watch

if TYPE_CHECKING:
    from pwfn.run.settings import TrainSettings

CHECKING = "loading PyTorch, then checking the settings ..."
LOADING = "the settings are right; loading Lightning, the network and its images ..."


def main() -> None:
    """Check the command line of `sys.argv` and do what it asks for."""
    of_a_sweep = parent_watch.stop_with_parent()
    hydra_program.prepare()
    if hydra_program.only_helps(sys.argv[1:]):
        hydra_program.start(train, "train")
        return
    if not of_a_sweep:  # which has checked its jobs
        hydra_program.say_at_once(CHECKING)
        hydra_program.begin_log(outline)
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
        preflight.preflight(TrainSettings, program.conf_folder(), "train", sys.argv[1:], faults_of_a_run)
        with given_folder.owned(sys.argv[1:]):
            hydra_program.start(train, "train")


def faults_of_a_run(settings: TrainSettings) -> list[str]:
    """Return what keeps a single run from starting here: too many or few processes, missing images."""
    from pwfn.data import DataError

    faults = settings.launch_faults()
    if settings.inspect or settings.dry_run or settings.resume is not None:
        return faults
    try:
        settings.data.check_layout()  # now, while Lightning, which takes seconds, is not imported
    except DataError as error:
        faults.append(f"data: {error}")
    return faults


def train(cfg: DictConfig) -> float:
    """Run one job in this process, by the function of the same name in `train_task`."""
    hydra_program.say_at_once(LOADING)
    with program.whole_arguments():
        from pwfn.cli import train_task  # torch and Lightning are imported only once something is to be run

        return train_task.train(cfg)
