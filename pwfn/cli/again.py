"""Go on with the run in a folder where the same command finds one (`train.py resume=auto ...`).

It is what a scheduler does that starts a job again after its machine has failed. Unlike `resume=<folder>`, it is a
setting like any other, so that it works under every launcher: the folder is the one that Hydra gives to the run.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from pwfn.checkpoint import saved_config, saved_run
from pwfn.cli import resume
from pwfn.cli.hydra_program import started_in
from pwfn.config.build import load, refuse
from pwfn.config.hydra_internal import parsed_flags
from pwfn.records.files import CHECKPOINTS, CONFIG, RESULT
from pwfn.run.settings import TrainSettings
from pwfn.sweep.job import GO_ON

FOLDER = "hydra.run.dir="


def refuse_without_folder(argv: Sequence[str]) -> None:
    """End with exit code 2 where a single run is asked to go on, but not in which folder."""
    flags = parsed_flags(argv)
    if GO_ON in flags.overrides and not flags.multirun and not any(line.startswith(FOLDER) for line in flags.overrides):
        refuse(["resume = 'auto': must be with hydra.run.dir=<folder>; without it each run has a new folder"])


def is_wanted(settings: TrainSettings, folder: Path) -> bool:
    """Tell whether the run in `folder`, which has begun, is to go on."""
    if settings.resume is None or settings.inspect or settings.dry_run or not (folder / CONFIG).is_file():
        return False
    return (folder / CHECKPOINTS).is_dir() or saved_run.is_finished(folder)


def go_on(cfg: DictConfig, folder: Path) -> float:
    """Go on with the run in `folder`, whose configuration `cfg` must equal; return the accuracy (%).

    It is the top1 that choices go by.

    A finished run is left as it is. Ends with exit code 2 where the configuration is another.
    """
    from pwfn.run.start import run

    asked = OmegaConf.create(OmegaConf.to_container(cfg, resolve=True))
    assert isinstance(asked, DictConfig)
    if faults := resume.differences(folder, saved_config.read_config(folder), asked):
        refuse(faults)
    if saved_run.is_finished(folder):
        resume.say_finished(folder)
        return float(json.loads((folder / RESULT).read_text(encoding="utf-8"))["objective"])
    settings = load(TrainSettings, resume.without_lost_weights(folder, asked), importable=None, seen_from=started_in())
    done = run(settings, OmegaConf.to_container(asked), folder, name=folder.name, resume=True)
    return done.records[-1].judged.top1
