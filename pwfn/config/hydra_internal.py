"""Hold everything used of `hydra._internal`: what has no public twin in Hydra 1.3 and 1.4."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path, get_args_parser
from hydra.core.config_loader import ConfigLoader
from hydra.core.config_search_path import SearchPathQuery


def parsed_flags(arguments: Sequence[str]) -> Namespace:
    """Parse a command line as `hydra.main` does; exit code 2 where that is impossible.

    `hydra.main` keeps its parser to itself, and a copy of it would not know the flags of another version.
    """
    return get_args_parser().parse_intermixed_args(list(arguments))  # as 1.4 does; 1.3 takes less


def flags_of(arguments: Sequence[str]) -> Namespace:
    """Parse the flags of a command line that may also hold flags Hydra does not know."""
    return get_args_parser().parse_known_intermixed_args(list(arguments))[0]


def only_informs(flags: Namespace) -> bool:
    """Say whether the flags ask for something else than a run: help, a printed configuration, completion."""
    rerun = getattr(flags, "experimental_rerun", None)  # 1.4 has it no longer
    return bool(flags.help or flags.hydra_help or flags.cfg or flags.info or flags.shell_completion or rerun)


def config_loader(config_dir: Path, flags: Namespace) -> ConfigLoader:
    """Return the loader of the YAML files, with `--config-path` and `--config-dir` taken into account.

    The public `initialize_config_dir` knows one folder and no flags, and it sets a process-wide state that `hydra.main`
    then finds in use.
    """
    main = str(config_dir)
    if flags.config_path is not None:
        is_package = flags.config_path.startswith("pkg://")
        main = flags.config_path if is_package else os.path.normpath(config_dir.parent / flags.config_path)
    search_path = create_config_search_path(main)
    if flags.config_dir is not None:
        folder = f"file://{os.path.abspath(flags.config_dir)}"
        search_path.prepend(provider="command-line", path=folder, anchor=SearchPathQuery(provider="schema"))
    return ConfigLoaderImpl(search_path)
