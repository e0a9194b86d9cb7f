"""Run `evaluate.py`, `pwfn evaluate`: measure a run or an artifact, or write a report."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from pwfn.cli import hydra_program
from pwfn.config import preflight, program
from pwfn.config.build import refuse
from pwfn.config.key_hints import KeyHints
from pwfn.config.wording.text_values import with_homes
from pwfn.monitoring.loggers.several_loggers import spelled_out
from pwfn.records import instead
from pwfn.value_kinds import path_of

if TYPE_CHECKING:
    from pwfn.evaluation.settings import EvaluateSettings


def main() -> None:
    """Check the command line of `sys.argv` and do what it asks for."""
    hydra_program.prepare()
    if hydra_program.only_helps(sys.argv[1:]):
        hydra_program.start(evaluate, "evaluate")
        return
    hydra_program.say_at_once("loading PyTorch, Lightning and what is to be measured ...")
    from pwfn.evaluation.settings import EvaluateSettings

    sys.argv[1:] = with_homes(spelled_out(sys.argv[1:]), KeyHints(EvaluateSettings))
    refuse_lone_keys_of_data(sys.argv[1:])
    preflight.preflight(EvaluateSettings, program.conf_folder(), "evaluate", sys.argv[1:], faults_of_a_run)
    hydra_program.start(evaluate, "evaluate")


def refuse_lone_keys_of_data(words: Sequence[str]) -> None:
    """End with exit code 2 where keys of `data` are given, but not which data they belong to."""
    keys = [word for word in words if word.lstrip("+").startswith("data.")]
    if keys and not any(word.lstrip("+").startswith("data=") for word in words):
        allowed = (
            "must be with artifact=<model.pwfn> data=<option>; a run is measured on its own data, in its own batches "
            "(data_root=<folder> where the images have moved)"
        )
        refuse([f"{key}: {allowed}" for key in keys])


def faults_of_a_run(settings: EvaluateSettings) -> list[str]:
    """Return why the run cannot be measured, while nothing that takes seconds is imported."""
    from pwfn.checkpoint import saved_run

    if settings.run is None:
        return []
    folder = path_of(settings.run)
    try:
        saved_run.finished_records(folder)
    except saved_run.NotAFinishedRun as error:
        return [f"run = {settings.run!r}: must be the folder of a finished run ({error}){instead.of_run(folder)}"]
    return []


def evaluate(cfg: DictConfig) -> None:
    """Measure what `cfg` names, in the function of the same name in `evaluate_task`."""
    with program.whole_arguments():
        from pwfn.cli import evaluate_task  # with torch, which takes seconds

        evaluate_task.evaluate(cfg)
