"""Start a Hydra program whose configuration is this package's own."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import hydra
from omegaconf import DictConfig

from pwfn.config import program, resolvers
from pwfn.config.build import refuse
from pwfn.config.hydra_internal import flags_of

OWN_MODULES = "PWFN_IMPORT"  # modules with classes of the user's own, separated by commas


def prepare() -> None:
    """Make this process ready to read a configuration, and the paths of `sys.argv` absolute.

    A relative `--config-path` is seen from the folder of train.py, as Hydra does it, or for `pwfn` from the working folder.
    """
    _import_own_modules()
    resolvers.register()
    sys.argv[0] = os.path.abspath(sys.argv[0])
    given = flags_of(sys.argv[1:]).config_path
    if given is not None and not given.startswith("pkg://"):
        above = Path.cwd() if program.has_subcommand() else Path(sys.argv[0]).parent
        sys.argv += ["--config-path", os.path.normpath(above / given)]


def _import_own_modules() -> None:
    """A saved run may name classes of the user's own; the file itself is given nothing to import."""
    for module in filter(None, os.environ.get(OWN_MODULES, "").split(",")):
        try:
            import_module(module)
        except ImportError as error:
            refuse([f"{OWN_MODULES} = {os.environ[OWN_MODULES]!r}: must be modules that can be imported ({error})"])


def start(task: Callable[[DictConfig], Any], config_name: str) -> None:
    """Run `task` as `hydra.main` does, with the arguments of `sys.argv`."""
    hydra.main(version_base="1.3", config_path=str(program.conf_folder()), config_name=config_name)(task)()
