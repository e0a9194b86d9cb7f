"""Say how this program was started, how it is started again, and where its configuration is."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
_subcommand: str | None = None  # of `pwfn train ...`; None where a script such as train.py was started
_started_in: str | None = None  # None where no program was started: then it is wherever Python is


def checkout() -> Path | None:
    """Return the checkout this package is used from, None where it is installed without one."""
    above = PACKAGE.parent
    return above if not (PACKAGE / "conf").is_dir() and (above / "conf/train.yaml").is_file() else None


def conf_folder() -> Path:
    """Return the folder of the YAML files: `conf/` of a checkout, or `pwfn/conf/` of an installed package."""
    above = checkout()
    return above / "conf" if above else PACKAGE / "conf"


def take_subcommand() -> str:
    """Remove the subcommand from `sys.argv`, which Hydra reads, and remember that it was there."""
    global _subcommand
    _subcommand = sys.argv.pop(1)
    return _subcommand


def has_subcommand() -> bool:
    """Say whether this is `pwfn <subcommand>` rather than a script such as train.py."""
    return _subcommand is not None


def remember_folder() -> None:
    """Remember the folder the user stands in: Hydra, or a resumed sweep, may go to another one."""
    global _started_in
    _started_in = os.getcwd()


def as_short_as_typed(path: Path) -> str:
    """Return a path relative to the user's folder if it is below and the program still there, or absolute."""
    absolute, here = Path(os.path.abspath(path)), os.getcwd()
    near = absolute.is_relative_to(here) and _started_in in (None, here)
    return os.path.relpath(absolute, here) if near else str(absolute)


@contextmanager
def whole_arguments() -> Iterator[None]:
    """Put the subcommand back into `sys.argv`: Lightning repeats it to start the other processes of a run."""
    before = sys.argv
    sys.argv = [before[0], *_subcommands(), *before[1:]]
    try:
        yield
    finally:
        sys.argv = before


def arguments() -> list[str]:
    """Return the command line without the program and its subcommand."""
    words = sys.argv[1:]
    return words[1:] if words[:1] == _subcommands() != [] else words


def command() -> list[str]:
    """Return what starts this program again, to be followed by its arguments."""
    spec = _main_spec()
    start = ["-m", spec.removesuffix(".__main__")] if spec else [os.path.abspath(sys.argv[0])]
    return [sys.executable, *start, *_subcommands()]


def name() -> str:
    """Return the program that runs: the subcommand of `pwfn`, or a script's name without its ending."""
    return _subcommand or Path(sys.argv[0]).stem


def typed(name: str) -> list[str]:
    """Return what the user of this program types to start `name`: `python train.py`, or `pwfn train`."""
    return ["python", f"{name}.py"] if _subcommand is None else [*dispatcher(), name]


def recorded() -> list[str]:
    """Return this program as a run's record names it: `train.py`, or `pwfn train`."""
    return [Path(sys.argv[0]).name] if _subcommand is None else typed(_subcommand)


def dispatcher() -> list[str]:
    """Return what the user types before a subcommand: `pwfn`, or `python -m pwfn`."""
    return ["python", "-m", "pwfn"] if _main_spec() else [Path(sys.argv[0]).name]


def _subcommands() -> list[str]:
    return [] if _subcommand is None else [_subcommand]


def _main_spec() -> str | None:
    """Return the module that `python -m` was given."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return None if spec is None else str(spec.name)
