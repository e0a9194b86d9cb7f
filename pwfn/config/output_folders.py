"""Create output folders that no two runs or sweeps share."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, open_dict, read_write

from pwfn.config import resolvers
from pwfn.config.wording.quoting import quoted
from pwfn.value_kinds import path_of

NAMED_BY = "hydra.job.config.override_dirname.exclude_keys"  # Hydra's: the overrides that name no folder


def claimed(folder: Path) -> Path:
    """Make `folder`, or `<folder>-2` and so on where it exists; no other process gets the same one."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    for number in count(1):
        candidate = folder if number == 1 else folder.with_name(f"{folder.name}-{number}")
        try:
            candidate.mkdir()
            return candidate
        except FileExistsError:
            continue
    raise AssertionError("count() has no end")


class OwnFolder(Callback):
    """Give a run or sweep an unshared folder unless the command line chose one."""

    def __reduce__(self) -> tuple[Callable[[], OwnFolder], tuple[()]]:
        return _arrived, ()

    def on_run_start(self, config: DictConfig, **_kwargs: Any) -> None:
        """Give a run its folder."""
        _claim(config, "run")

    def on_multirun_start(self, config: DictConfig, **_kwargs: Any) -> None:
        """Give a sweep its folder, and its jobs names by the overrides that differ."""
        _claim(config, "sweep")
        same = [o.key_or_group for o in _parsed(config.hydra.overrides.task) if not o.is_sweep_override()]
        swept = [o.key_or_group for o in _parsed(config.hydra.overrides.task) if o.is_sweep_override()]
        swept += [key for key in (config.hydra.sweeper.get("params") or {}) if key not in same]
        if swept and not any(o.key_or_group == NAMED_BY for o in _parsed(config.hydra.overrides.hydra)):
            _also(config, f"{NAMED_BY}=[{','.join(same)}]")  # what all jobs have in common tells none from another


def _arrived() -> OwnFolder:
    """Prepare a process to which another launcher has sent its jobs, as train.py would have."""
    resolvers.register()
    return OwnFolder()


def _claim(config: DictConfig, kind: str) -> None:
    key = f"hydra.{kind}.dir"
    if any(o.key_or_group == key for o in _parsed(config.hydra.overrides.hydra)):
        return
    folder = claimed(path_of(str(config.hydra[kind].dir)))
    with read_write(config.hydra):  # as Hydra 1.4 hands it over
        config.hydra[kind].dir = str(folder)
    if kind == "sweep":
        _also(config, f"{key}={quoted(str(folder))}")


def _also(config: DictConfig, line: str) -> None:
    """Add an override, from which every launcher composes its jobs' configurations anew."""
    with read_write(config.hydra), open_dict(config.hydra.overrides):
        config.hydra.overrides.hydra.append(line)


def _parsed(lines: list[str]) -> list[Override]:
    return OverridesParser.create().parse_overrides(list(lines))
