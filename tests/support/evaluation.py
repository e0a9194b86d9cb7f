"""Settings of quick evaluations, and measuring with them, for the tests."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any

from hydra import compose, initialize_config_dir
from rich.console import Console

from pwfn.cli.evaluate_task import run
from pwfn.config import build, resolvers
from pwfn.evaluation.measure import Measured
from pwfn.evaluation.settings import EvaluateSettings
from tests.support.project import CONF


@lru_cache(maxsize=1)
def _defaults() -> EvaluateSettings:
    resolvers.register()
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        return build.load(EvaluateSettings, compose("evaluate", ["run=nowhere"]))


def settings(**changes: Any) -> EvaluateSettings:
    """What `python evaluate.py` would do, without an ensemble and intervals unless `changes` ask for them."""
    return replace(_defaults(), **{"run": None, "quiet": True, "samples": 0, "resamples": 0, **changes})


def measured(**changes: Any) -> Measured:
    return run(settings(**changes), Console(quiet=True))
