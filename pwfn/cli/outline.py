"""Say in one line what a command line of training is going to do, before PyTorch is imported."""

from __future__ import annotations

from collections.abc import Sequence

from hydra.core.utils import setup_globals
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from pwfn.config import program
from pwfn.config.hydra_internal import config_loader, flags_of, only_informs
from pwfn.config.preflight import COMPOSE_ERRORS

RESUME = "resume="


def outline(words: Sequence[str]) -> str | None:
    """Return what `words`, the arguments of training, ask for.

    Returns:
        One line; None where nothing will be run, where nothing is to be printed, or where the words are wrong, which
        the check of the settings tells in full.
    """
    flags = flags_of(words)
    if only_informs(flags):
        return None
    if flags.multirun:
        return "sweep: " + " ".join(word for word in words if word not in ("-m", "--multirun"))
    folder = next((word.removeprefix(RESUME) for word in words if word.startswith(RESUME)), "auto")
    if folder not in ("auto", "null"):
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
    what = "dry run" if config.get("dry_run") else "inspection" if config.get("inspect") else "run"
    root = OmegaConf.select(config, "data.root")
    limits = [f"budget.{name}={value}" for name, value in (config.get("budget") or {}).items() if value is not None]
    facts = [
        f"network {OmegaConf.select(config, 'model.name') or chosen.get('model')}",
        f"data {chosen.get('data')}" + (f" in {root}" if root else ""),
        f"clustering {chosen.get('clustering')}",
        f"codebook {chosen.get('codebook')}",
        f"schedule {chosen.get('schedule')}",
        *limits,
    ]
    return f"{what}: {', '.join(facts)}"
