"""Keep printing from ending a program: a terminal lacks a character, or is gone."""

from __future__ import annotations

import io
import os
import stat
import sys
from collections.abc import Sequence


def print_any_character() -> None:
    """Print a question mark for each character that the encoding of an output stream does not have."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors in ("strict", "surrogateescape"):
            stream.reconfigure(errors="replace")


def say_at_once(text: str, words: Sequence[str]) -> None:
    """Tell a terminal what the next seconds go into; nothing with quiet=true or to a file.

    Args:
        text: one line.
        words: the command line, without the program.
    """
    if sys.stderr is not None and sys.stderr.isatty() and not _is_quiet(words):
        print(f"pwfn: {text}", file=sys.stderr, flush=True)


def begins_a_log(words: Sequence[str]) -> bool:
    """Tell whether output goes to a file or pipe that somebody may follow, and quiet is not asked for."""
    return sys.stdout is not None and not sys.stdout.isatty() and not _is_quiet(words)


def _is_quiet(words: Sequence[str]) -> bool:
    return any(word.lower() == "quiet=true" for word in words)


def leave_terminal() -> None:
    """Print to nowhere from now on instead of to a terminal: one that has hung up answers with an error."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        for descriptor in (1, 2):
            try:
                if stat.S_ISCHR(os.fstat(descriptor).st_mode):  # it is a terminal no longer for isatty
                    os.dup2(nowhere, descriptor)
            except OSError:
                continue  # a program may have closed it
    finally:
        os.close(nowhere)
