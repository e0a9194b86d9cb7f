"""Keep the command, the commit and the versions that have to be known to repeat a run."""

from __future__ import annotations

import json
import os
import platform
import shlex
import subprocess
import sys
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import torch

from pwfn.config import program
from pwfn.config.secrets import without_given_secrets
from pwfn.records.files import PROVENANCE, write_text

PACKAGES = ("pwfn", "torch", "timm", "pytorch-lightning", "hydra-core", "wandb")
CHANGED = "-dirty"  # after the commit, as `git describe` writes it, where a tracked file differs from it
GIT_SECONDS = 10


@dataclass(frozen=True)
class Provenance:
    """Say where a run comes from.

    Attributes:
        command: the command line, without secrets.
        commit: of the program; None outside a git checkout, or where there is no git.
        threads: of torch.
        versions: of Python and of packages.
    """

    command: str
    commit: str | None
    threads: int
    versions: dict[str, str]

    @classmethod
    def of_this_program(cls) -> Provenance:
        """Describe the running program."""
        # an installed package may lie within a checkout that is not its own
        source = program.checkout() if program.has_subcommand() else Path(sys.argv[0]).absolute().parent
        return cls(
            command=shlex.join([*program.recorded(), *map(without_given_secrets, program.arguments())]),
            commit=commit(source) if source else None,
            threads=torch.get_num_threads(),
            versions={"python": platform.python_version(), **{package: version(package) for package in PACKAGES}},
        )

    @classmethod
    def of_run(cls, folder: Path) -> Provenance:
        """Read what the run in `folder` was started with; without such a file, describe this program."""
        try:
            return cls(**json.loads((folder / PROVENANCE).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return cls.of_this_program()

    def write(self, folder: Path) -> None:
        """Write it to the run's folder, which is made where it is missing."""
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / PROVENANCE, json.dumps(asdict(self), indent=1) + "\n")


def commit(folder: Path) -> str | None:
    """Return the commit checked out in `folder`, with `CHANGED` where tracked files differ from it."""
    head = _git(folder, "rev-parse", "--verify", "HEAD")
    if not head:
        return None
    changes = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return head + (CHANGED if changes else "")


def _git(folder: Path, *command: str) -> str | None:
    """Return what git prints, None where it fails; it takes no lock on the checkout."""
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *command],
            env=environment,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=GIT_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
