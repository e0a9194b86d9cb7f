"""Run `evaluate.py`, `pwfn evaluate`: measure a run or an artifact, or write a report."""

from __future__ import annotations

import sys

from omegaconf import DictConfig

from pwfn.cli import hydra_program
from pwfn.config import preflight, program
from pwfn.config.key_hints import KeyHints
from pwfn.config.text_values import with_homes
from pwfn.monitoring.several_loggers import spelled_out


def main() -> None:
    """Check the command line of `sys.argv` and do what it asks for."""
    hydra_program.prepare()
    from pwfn.evaluation.settings import EvaluateSettings

    sys.argv[1:] = with_homes(spelled_out(sys.argv[1:]), KeyHints(EvaluateSettings))
    preflight.preflight(EvaluateSettings, program.conf_folder(), "evaluate", sys.argv[1:])
    hydra_program.start(evaluate, "evaluate")


def evaluate(cfg: DictConfig) -> None:
    """Measure what `cfg` names, in the function of the same name in `evaluate_task`."""
    with program.whole_arguments():
        from pwfn.cli import evaluate_task  # with torch, which takes seconds

        evaluate_task.evaluate(cfg)
