"""Say in one line what a command line of training is going to do, before PyTorch is imported."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from hydra.core.utils import setup_globals
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from pwfn.cli.resume_key import KEY, is_folder
from pwfn.config import program
from pwfn.config.hydra_internal import config_loader, flags_of, only_informs
from pwfn.config.preflight import COMPOSE_ERRORS


def outline(words: Sequence[str]) -> str | None:
    """Return what `words`, the arguments of training, ask for.

    Returns:
        One line; None where nothing will be run, where nothing is to be printed, or where the words cannot be composed,
        which the check of the settings tells in full. Wrong values are not looked for.
    """
    flags = flags_of(words)
    if only_informs(flags):
        return None
    if flags.multirun:
        return "sweep: " + " ".join(word for word in words if word not in ("-m", "--multirun"))
    folder = next((word.removeprefix(KEY) for word in words if is_folder(word)), None)
    if folder is not None:
        return f"resuming the run in {folder}"
    setup_globals()
    loader = config_loader(program.conf_folder(), flags)
    try:
        composed = loader.load_configuration(flags.config_name or "train", flags.overrides, RunMode.RUN)
        return None if composed.get("quiet") else _of_run(composed)
    except COMPOSE_ERRORS:
        return None


def _of_run(config: DictConfig) -> str:
    """Describe a single run by its options."""
    chosen = config.hydra.runtime.choices
    what = "inspection" if config.get("inspect") else "dry run" if config.get("dry_run") else "run"
    root = OmegaConf.select(config, "data.root")
    budget = config.get("budget")
    named: Iterable[tuple[Any, Any]] = budget.items() if isinstance(budget, DictConfig) else ()
    limits = [f"budget.{name}={value}" for name, value in named if value is not None]
    facts = [
        f"network {OmegaConf.select(config, 'model.name') or chosen.get('model')}",
        f"data {chosen.get('data')}" + (f" in {root}" if root else ""),
        f"clustering {chosen.get('clustering')}",
        f"codebook {chosen.get('codebook')}",
        f"schedule {chosen.get('schedule')}",
        *limits,
    ]
    return f"{what}: {', '.join(facts)}"
