"""Run `pwfn animate run=<folder>`: a finished run as a film of its weights."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pwfn.config import program
from pwfn.errors import RunError
from pwfn.value_kinds import path_of


def main(arguments: Sequence[str]) -> int:
    """Write the film; returns 0, or 2 where the folder does not hold what it is made of."""
    what = "Draw how the weights of a finished run come to share a few values, round by round, as a GIF."
    parser = argparse.ArgumentParser(prog=" ".join(program.typed("animate")), description=what)
    parser.add_argument("run", type=_run, help="the folder of the run, also written run=<folder>")
    parser.add_argument("--out", type=path_of, help="the file; rounds.gif in the run's folder by default")
    given = parser.parse_args(arguments)
    try:
        from pwfn.report.animation import ANIMATION, write_animation  # with matplotlib, which takes a second

        target = given.out or given.run / ANIMATION
        count = write_animation(given.run, target)
    except RunError as error:
        print(f"pwfn: {error}", file=sys.stderr)
        return 2
    print(f"{count} pictures in {target}")
    return 0


def _run(word: str) -> Path:
    return path_of(word.removeprefix("run="))
