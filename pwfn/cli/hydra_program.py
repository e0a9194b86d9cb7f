"""Start a Hydra program whose configuration is this package's own."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from pwfn.config import program, resolvers, terminal
from pwfn.config.build import refuse
from pwfn.config.classes import import_own_modules, own_modules
from pwfn.config.hydra_internal import flags_of
from pwfn.records import failure


def prepare() -> None:
    """Make this process ready to read a configuration, and the paths of `sys.argv` absolute.

    A relative `--config-path` is seen from the folder of train.py, as Hydra does it, of `pwfn` from the working folder.
    """
    terminal.print_any_character()
    program.remember_folder()
    if faults := import_own_modules():
        refuse(faults)
    resolvers.register()
    sys.argv[0] = os.path.abspath(sys.argv[0])
    given = flags_of(sys.argv[1:]).config_path
    if given is not None and not given.startswith("pkg://"):
        above = Path.cwd() if program.has_subcommand() else Path(sys.argv[0]).parent
        sys.argv += ["--config-path", os.path.normpath(above / given)]


def only_helps(arguments: Sequence[str]) -> bool:
    """Say whether a command line asks for nothing but help, which needs no settings and so no torch."""
    return bool(flags_of(arguments).help)


def say_at_once(text: str) -> None:
    """Tell a terminal what the next seconds go into; once where several processes are started."""
    if failure.is_first_process():
        terminal.say_at_once(text, sys.argv[1:])


def begin_log(outline: Callable[[Sequence[str]], str | None]) -> None:
    """Tell a log in its first line what is going to be done; once where several processes are started."""
    if failure.is_first_process() and terminal.begins_a_log(sys.argv[1:]) and (line := outline(sys.argv[1:])):
        print(f"pwfn: {line}; loading PyTorch, then checking the settings ...", flush=True)


def start(task: Callable[[DictConfig], Any], config_name: str) -> None:
    """Run `task` as `hydra.main` does, with the arguments of `sys.argv`."""
    old = hydra.__version__.startswith("1.3.")  # what one version asks for, the other does not know, or warns of
    asked: dict[str, Any] = {"version_base": "1.3"} if old else {"execution_whitelist": may_be_started()}
    hydra.main(config_path=str(program.conf_folder()), config_name=config_name, **asked)(task)()


def may_be_started() -> tuple[str, ...]:
    """Return what a configuration may have Hydra build: callbacks, launchers, sweepers, log handlers."""
    packages = ("pwfn", "hydra_plugins", "hydra", "logging", "colorlog", "rich", *own_modules())
    return tuple(f"{package}.*" for package in packages)


def started_in() -> str | None:
    """Return the folder the program was started in if Hydra has left it (`hydra.job.chdir`), else None."""
    folder = HydraConfig.get().runtime.cwd if HydraConfig.initialized() else None
    return folder if folder is not None and folder != os.getcwd() else None
