"""Run `pwfn animate run=<folder>`: a finished run as a film of its weights."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pwfn.config import program
from pwfn.config.wording.pages import see
from pwfn.errors import RunError, one_line
from pwfn.records import instead
from pwfn.value_kinds import path_of

ENDING = ".gif"


def main(arguments: Sequence[str]) -> int:
    """Write the film; return 0, or 2 with one line on why there is nothing to draw or nowhere to write."""
    what = "Draw how the weights of a finished run come to share a few values, round by round, as a GIF."
    parser = argparse.ArgumentParser(prog=" ".join(program.typed("animate")), description=what)
    parser.add_argument("run", type=_run, help="the folder of the run, also written run=<folder>")
    parser.add_argument("--out", type=path_of, help="the file, a .gif; rounds.gif in the run's folder by default")
    given = parser.parse_args(arguments)
    if given.out is not None and given.out.suffix.lower() != ENDING:
        return _refused(f"--out = {str(given.out)!r}: must end with {ENDING}")
    if more := instead.of_animate(given.run):
        return _refused(f"run = {str(given.run)!r}: must be the folder of a finished run{more}")
    try:
        from pwfn.report.animation import ANIMATION, write_animation  # with matplotlib, which takes a second

        target = given.out or given.run / ANIMATION
        count = write_animation(given.run, target)
    except (RunError, OSError) as error:
        return _refused(one_line(error, 400))
    print(f"{count} pictures in {target}")
    return 0


def _refused(why: str) -> int:
    print(f"pwfn: {why}{see('docs/report.md')}", file=sys.stderr)
    return 2


def _run(word: str) -> Path:
    return path_of(word.removeprefix("run="))
