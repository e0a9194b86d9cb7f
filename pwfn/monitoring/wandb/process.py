"""Prepare the process that a W&B run starts in: variables, a clean command line, its own errors."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from traceback import walk_tb

from pwfn.config.secrets import without_given_secrets

OF_WANDB = ("wandb", "pydantic", "pydantic_core")  # pydantic checks its settings


@contextmanager
def environment(**values: str) -> Iterator[None]:
    """Set variables for the length of the block: the next run of this process may be another.

    Values set by the user stay.
    """
    mine = {name: value for name, value in values.items() if name not in os.environ}
    os.environ.update(mine)
    try:
        yield
    finally:
        for name in mine:
            os.environ.pop(name, None)


@contextmanager
def arguments_without_secrets() -> Iterator[None]:
    """Mask passwords and tokens of the command line while W&B starts, which records it."""
    before = sys.argv
    sys.argv = list(map(without_given_secrets, before))
    try:
        yield
    finally:
        sys.argv = before


def is_of_wandb(error: Exception) -> bool:
    """Tell whether an error is W&B's, which have no common class: any that came through its code.

    What the operating system refuses (disk, connection) counts as its own.
    """
    frames = [
        type(error).__module__,
        *(frame.f_globals.get("__name__", "") for frame, _ in walk_tb(error.__traceback__)),
    ]
    return isinstance(error, OSError) or any(name.partition(".")[0] in OF_WANDB for name in frames)
