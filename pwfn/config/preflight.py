"""Check a command line before Hydra, data or a model is touched: every fault of every job.

Hydra stops at the first key or option it does not know, and takes anything that has a `+` in front. So the value
overrides are applied here one by one, wrong ones included, and the schema then judges the whole configuration. A
command line that passes is composed once more by Hydra itself, so nothing that Hydra would refuse gets through.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from copy import deepcopy
from importlib.util import find_spec
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

import yaml
from hydra import version
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Override
from hydra.core.utils import setup_globals
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from pwfn.config.build import ConfigError, load, refuse
from pwfn.config.hydra_internal import config_loader, only_informs, parsed_flags
from pwfn.config.overrides import OverrideReader, apply, reason_of
from pwfn.value_kinds import path_of

# what composing raises for a wrong command line or a wrong YAML file
COMPOSE_ERRORS = (HydraException, OmegaConfBaseException, yaml.YAMLError, ValueError, TypeError, KeyError, OSError)
MAX_JOBS = 1000  # about fifteen milliseconds each


def preflight(
    schema: type[Any],
    config_dir: str | Path,
    config_name: str,
    argv: Sequence[str],
    further: Callable[[Any], list[str]] = lambda _settings: [],
) -> None:
    """Return if every job of `argv` is right, else print the faults and exit with code 2.

    The flags --config-path, --config-name and --config-dir take precedence over the arguments, as they do in Hydra. A
    relative --config-path is seen from the folder above `config_dir`.

    Args:
        schema: the class of the settings.
        config_dir: as given to `hydra.main`.
        config_name: as given to `hydra.main`.
        argv: the command line without the program.
        further: finds faults in the settings of a single run, where this process is to be the run itself.
    """
    args = parsed_flags(argv)
    if only_informs(args):
        return
    if version.getbase() is None:
        version.setbase("1.3")
    setup_globals()
    if args.config_dir is not None and not Path(args.config_dir).is_dir():
        refuse([f"--config-dir = {args.config_dir!r}: must be a folder that exists"])
    loader = config_loader(Path(config_dir).absolute(), args)
    overrides = OverrideReader(loader, args.config_name or config_name, schema)
    faults = _command_line_faults(args.overrides, args.multirun, overrides, _Jobs(schema, overrides, further))
    if faults:
        refuse(faults)


class _Jobs:
    """Compose and judge whole configurations."""

    def __init__(self, schema: type[Any], overrides: OverrideReader, further: Callable[[Any], list[str]]) -> None:
        self.schema = schema
        self.further: Callable[[Any], list[str]] | None = further
        self.overrides = overrides
        self.groups = [group for group in overrides.loader.list_groups("") if group != "hydra"]
        self.composed: dict[tuple[str, ...], tuple[DictConfig | None, list[str]]] = {}
        self.confirmed: set[tuple[str, ...]] = set()

    def faults(self, job: Sequence[Override], folder_key: str) -> list[str]:
        """Return every fault of one job, whose output goes below the folder that `folder_key` names."""
        structural = [o for o in job if o.is_hydra_override() or self.overrides.is_group(o)]
        groups = tuple(str(o.input_line) for o in structural)
        if groups not in self.composed:
            self.composed[groups] = self._compose_or_blame(groups)
        base, faults = self.composed[groups]
        if base is None:
            return faults
        cfg = deepcopy(base)
        faults = faults + [fault for o in job if o not in structural for fault in apply(cfg, o)]
        faults += _folder_faults(cfg, folder_key) + self._schema_faults(cfg)
        if not faults and groups not in self.confirmed:  # the groups decide which keys there are: once each is enough
            self.confirmed.add(groups)
            try:
                self.compose(tuple(str(o.input_line) for o in job))
            except COMPOSE_ERRORS as error:
                faults.append(reason_of(error))
        return faults

    def compose(self, lines: tuple[str, ...], mode: RunMode = RunMode.RUN) -> DictConfig:
        loader, name = self.overrides.loader, self.overrides.config_name
        return loader.load_configuration(name, list(lines), mode, validate_sweep_overrides=False)

    def _compose_or_blame(self, lines: tuple[str, ...]) -> tuple[DictConfig | None, list[str]]:
        """Return the configuration, or one without the override that broke it and the fault, or None."""
        try:
            return self.compose(lines), []
        except COMPOSE_ERRORS as error:
            reason = reason_of(error)
        for index, line in enumerate(lines):
            try:
                group, _, option = line.lstrip("+~").partition("=")
                why = self.overrides.hint(group, option) or reason
                return self.compose(lines[:index] + lines[index + 1 :]), [f"{line}: {why}"]
            except COMPOSE_ERRORS:
                continue  # this one was not (alone) to blame; the reason is reported either way
        return None, [reason]

    def _schema_faults(self, cfg: DictConfig) -> list[str]:
        """Judge `cfg` without Hydra's own section, which ${hydra:...} still reaches."""
        hydra_before = HydraConfig.instance().cfg
        with open_dict(cfg):
            cfg.hydra.runtime.output_dir = os.getcwd()
            cfg.hydra.job.update(num=0, id="0")
        HydraConfig.instance().set_config(deepcopy(cfg))
        try:
            with open_dict(cfg):
                del cfg["hydra"]
            settings = load(self.schema, cfg, also_known=self.groups, importable=None)
            return self.further(settings) if self.further is not None else []
        except ConfigError as error:
            return error.faults
        finally:
            HydraConfig.instance().cfg = hydra_before


def _folder_faults(cfg: DictConfig, key: str) -> list[str]:
    """Report a folder that cannot be made, for which Hydra would show a traceback."""
    try:
        folder = path_of(str(OmegaConf.select(cfg, key)))
    except OmegaConfBaseException as error:
        return [f"{key}: {reason_of(error)}"]
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if there.is_dir() and os.access(there, os.W_OK | os.X_OK):
        return []
    why = "cannot be written to" if there.is_dir() else "is not a folder"
    return [f"{key} = {str(folder)!r}: must be a folder that can be made and written to; {there} {why}"]


def _command_line_faults(lines: list[str], multirun: bool, overrides: OverrideReader, jobs: _Jobs) -> list[str]:
    """Return every fault of a command line: of its overrides first, then of the jobs they make."""
    parsed = overrides.parse_line(lines)
    multirun, searches, params = _sweep_settings(parsed, multirun, jobs)
    if multirun:
        jobs.further = None
    if searches and not multirun and not any(o.key_or_group == "hydra.mode" for o in parsed):  # a job says RUN
        overrides.faults.append(f"sweep = {_chosen(parsed, 'sweep')!r}: must be with the flag -m")
    parsed = [o for line in params for o in overrides.parse(line)] + parsed
    # a later override of the same key replaces the earlier one, as it does in Hydra's own sweeper
    latest = {o.get_key_element(): o for o in parsed}
    if multirun and not searches:
        overrides.faults += [fault for o in latest.values() for fault in _interval_faults(o)]
    choices = [found for o in latest.values() if (found := overrides.alternatives(o, multirun))]
    combinations = _each_value_once(choices) if searches and multirun else _combinations(choices)
    folder_key = "hydra.sweep.dir" if multirun else "hydra.run.dir"
    counts = Counter(fault for job in combinations for fault in dict.fromkeys(jobs.faults(job, folder_key)))
    total = len(combinations)
    of_jobs = [fault if count == total else f"{fault} (in {count} of {total} jobs)" for fault, count in counts.items()]
    return list(dict.fromkeys(overrides.faults + of_jobs))


def _sweep_settings(parsed: list[Override], multirun: bool, jobs: _Jobs) -> tuple[bool, bool, list[str]]:
    """Return whether this is a sweep, whether it searches, and the overrides its sweeper adds."""
    settings = [
        o for o in parsed if not o.is_sweep_override() and (o.is_hydra_override() or jobs.overrides.is_group(o))
    ]
    try:
        hydra = jobs.compose(tuple(str(o.input_line) for o in settings), RunMode.MULTIRUN).hydra
        multirun = multirun or hydra.mode == RunMode.MULTIRUN
        params = (OmegaConf.select(hydra, "sweeper.params") or {}) if multirun else {}
        if multirun:
            jobs.overrides.faults += _missing_plugins(hydra)
        searches = not str(hydra.sweeper._target_).endswith("BasicSweeper")
        return multirun, searches, [f"{key}={value}" for key, value in params.items()]
    except COMPOSE_ERRORS:
        return multirun, False, []  # composing the jobs meets the same error, and reports it


def _missing_plugins(hydra: DictConfig) -> list[str]:
    """Report an option of a plugin that is not installed, for which Hydra would show a traceback."""
    lines = []
    for role in ("launcher", "sweeper"):
        package = ".".join(str(hydra[role]._target_).split(".")[:2])
        if find_spec(package) is None:
            chosen = f"hydra/{role} = {hydra.runtime.choices[f'hydra/{role}']!r}"
            lines.append(f"{chosen}: must be one that is installed; {package} is not (docs/sweeps.md says how)")
    return lines


def _combinations(choices: list[list[Override]]) -> list[tuple[Override, ...]]:
    """Return the jobs of a sweep; of a huge one each value once with the first values of the others."""
    number = prod(map(len, choices))
    if number <= MAX_JOBS:
        return list(product(*choices))
    print(f"pwfn: {number} jobs: each value was checked once, not every combination", file=sys.stderr)
    return _each_value_once(choices)


def _each_value_once(choices: list[list[Override]]) -> list[tuple[Override, ...]]:
    firsts = tuple(choice[0] for choice in choices)
    return [(*firsts[:i], value, *firsts[i + 1 :]) for i, choice in enumerate(choices) for value in choice]


def _interval_faults(override: Override) -> list[str]:
    if not override.is_interval_sweep():
        return []
    given = f"{override.key_or_group} = {override.get_value_string()}"
    return [f"{given}: must be values, as in 1,2 or range(1,3); only a search chooses in an interval (sweep=pareto)"]


def _chosen(parsed: list[Override], group: str) -> str:
    return next((str(o.value()) for o in reversed(parsed) if o.key_or_group == group), "null")
