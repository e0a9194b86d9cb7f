"""Resume the run in a folder with the configuration it was started with: `train.py resume=<folder>`.

That configuration is in the folder. Whatever else is on the command line must agree with it, so that the command that
started the run may be repeated with `resume=` added; only what cannot change a result may be given anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import deepcopy
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from hydra import version
from hydra.core.override_parser.types import Override
from hydra.core.utils import setup_globals
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

from pwfn.checkpoint import files, saved_config, saved_run
from pwfn.checkpoint.saved_config import MAY_CHANGE
from pwfn.cli.resume_key import KEY, is_folder
from pwfn.config.build import ConfigError, load, refuse
from pwfn.config.classes import targets
from pwfn.config.hydra_internal import config_loader, parsed_flags
from pwfn.config.nested import flat
from pwfn.config.overrides import OverrideReader, apply, reason_of
from pwfn.config.preflight import COMPOSE_ERRORS
from pwfn.records import failure, instead
from pwfn.run.settings import TrainSettings
from pwfn.value_kinds import path_of

_ABSENT = object()


def is_asked(argv: Sequence[str]) -> bool:
    """Return whether a command line (without the program) resumes a run."""
    return any(map(is_folder, argv))


def resume(config_dir: Path, config_name: str, argv: Sequence[str]) -> None:
    """Resume the run that a command line names; end with exit code 2 for its faults.

    Args:
        config_dir: the folder of conf/.
        config_name: the configuration of the program.
        argv: the command line without the program, with `resume=<folder>`.
    """
    folder, cfg = resumed_config(config_dir, config_name, argv)
    if saved_run.is_finished(folder):
        say_finished(folder)
        return
    from pwfn.cli.train_task import go_on  # Lightning takes seconds to import

    settings = load(TrainSettings, without_lost_weights(folder, cfg))
    if faults := settings.launch_faults():
        refuse(faults)
    go_on(settings, OmegaConf.to_container(cfg), folder)


def say_finished(folder: Path) -> None:
    """Say that there is nothing to resume, and remove what a run leaves that is killed near its end."""
    if failure.is_first_process():
        print(f"pwfn: the run in {folder} is finished, there is nothing to resume")
        files.remove(folder)


def resumed_config(config_dir: Path, config_name: str, argv: Sequence[str]) -> tuple[Path, DictConfig]:
    """Return a run's folder and its configuration with the allowed changes; exit code 2 for faults.

    Args:
        config_dir: as for `resume`.
        config_name: likewise.
        argv: likewise.
    """
    args = parsed_flags(argv)
    given = [line for line in args.overrides if is_folder(line)]
    folder = path_of(given[-1].removeprefix(KEY))
    try:
        saved = saved_config.read_config(folder)
    except saved_run.NotAFinishedRun as error:
        refuse([f"resume = {str(folder)!r}: must be the folder of a run ({error}){instead.of_resume(folder)}"])
    if args.multirun:
        refuse([f"resume = {str(folder)!r}: must be without -m: it goes on with one run"])
    if version.getbase() is None:
        version.setbase("1.3")
    setup_globals()
    loader = config_loader(config_dir.absolute(), args)
    reader = OverrideReader(loader, args.config_name or config_name, TrainSettings)
    lines = [line for line in args.overrides if not line.startswith(KEY)]
    parsed = [right for o in reader.parse_line(lines) for right in reader.alternatives(o, multirun=False)]
    asked, faults, own = _asked(saved, [o for o in parsed if not o.is_hydra_override()], reader)
    faults += [fault for o in parsed if o.is_hydra_override() for fault in _other_folder(o, folder)]
    try:
        load(TrainSettings, without_lost_weights(folder, asked), importable=own)
    except ConfigError as error:
        faults += error.faults
    faults = reader.faults + faults
    if faults := faults or differences(folder, saved, asked):
        refuse(faults)
    return folder, asked


def without_lost_weights(folder: Path, cfg: DictConfig) -> DictConfig:
    """Return a configuration without a lost file of weights, if the checkpoints hold the weights."""
    file = OmegaConf.select(cfg, "model.checkpoint")
    if not isinstance(file, str) or path_of(file).is_file() or not files.files(folder):
        return cfg
    changed = deepcopy(cfg)
    OmegaConf.update(changed, "model.checkpoint", None)
    OmegaConf.update(changed, "model.pretrained", True)  # the weights are not random: they were given
    return changed


def _asked(
    saved: DictConfig, overrides: list[Override], reader: OverrideReader
) -> tuple[DictConfig, list[str], set[str]]:
    """Return `saved` with the overrides put in, their faults, and the `_target_`s the user named."""
    asked = deepcopy(saved)
    before = targets(OmegaConf.to_container(saved))
    groups = [o for o in overrides if reader.is_group(o)]
    faults = []
    try:
        without, chosen = _composed(reader, []), _composed(reader, [str(o.input_line) for o in groups])
    except COMPOSE_ERRORS as error:
        return asked, [reason_of(error)], set()
    for path, value in _changes(without, chosen):  # what a preset says
        OmegaConf.update(asked, path, value, merge=False, force_add=True)
    for path in [o.key_or_group.replace("/", ".") for o in groups]:
        section = OmegaConf.select(OmegaConf.create(chosen), path)
        if section is not None:  # a preset has no section of its own
            OmegaConf.update(asked, path, section, merge=False)
    for override in overrides:
        if override not in groups:
            faults += apply(asked, override)
    return asked, faults, targets(chosen) | (targets(OmegaConf.to_container(asked)) - before)


def _composed(reader: OverrideReader, lines: list[str]) -> dict[str, Any]:
    cfg = reader.loader.load_configuration(reader.config_name, lines, RunMode.RUN, validate_sweep_overrides=False)
    with open_dict(cfg):
        del cfg["hydra"]
    values = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}


def _changes(before: dict[str, Any], after: dict[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield what differs, with its path; a section of another class as a whole, for its keys differ."""
    for key, value in after.items():
        here, old = f"{path}.{key}" if path else key, before.get(key, _ABSENT)
        if isinstance(old, dict) and isinstance(value, dict) and old.get("_target_") == value.get("_target_"):
            yield from _changes(old, value, here)
        elif old != value:
            yield here, value


def _may_change(folder: Path) -> list[str]:
    """Return the keys that may be given anew; without a checkpoint a run begins with its first weights."""
    begun = bool(files.files(folder))
    return [pattern for pattern in MAY_CHANGE if begun or pattern != "model.checkpoint"]


def differences(folder: Path, saved: DictConfig, asked: DictConfig) -> list[str]:
    """Return a line for each value that is not the run's, but for keys that may change.

    Args:
        folder: of the run.
        saved: its configuration.
        asked: the configuration of the command line.
    """
    allowed = _may_change(folder)
    had, has = flat(OmegaConf.to_container(saved)), flat(OmegaConf.to_container(asked))
    lines = []
    for key in [*had, *(key for key in has if key not in had)]:
        old, new = had.get(key, _ABSENT), has.get(key, _ABSENT)
        if old == new or any(fnmatchcase(key, pattern) for pattern in allowed):
            continue
        given = f"{key} is left out" if new is _ABSENT else f"{key} = {new!r}"
        lines.append(f"{given}: must be {'left out' if old is _ABSENT else repr(old)}, as in the run that is resumed")
    return lines


def _other_folder(override: Override, folder: Path) -> list[str]:
    """Report a folder other than the run's; a repeated command line may name that once more."""
    value = override.value()
    if override.key_or_group != "hydra.run.dir" or Path(str(value)).absolute() == folder.absolute():
        return []
    return [f"hydra.run.dir = {value!r}: must be left out, or the folder that is resumed"]
