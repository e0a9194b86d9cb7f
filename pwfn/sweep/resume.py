"""Resume the sweep in a folder as it was planned: `train.py -m resume_sweep=<folder>`.

Its command line is in the folder. It is simply given again, with the word that jobs which have a result are not run
again and that those which left a checkpoint go on from it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from pwfn.config.build import refuse
from pwfn.config.wording.quoting import quoted
from pwfn.records import instead
from pwfn.sweep.folder import SweepError, read_plan
from pwfn.value_kinds import path_of

KEY = "resume_sweep="
FLAGS = ("-m", "--multirun")
MAY_CHANGE = ("hydra.launcher.n_jobs=",)


def is_asked(argv: Sequence[str]) -> bool:
    """Return whether a command line (without the program) resumes a sweep."""
    return any(line.startswith(KEY) for line in argv)


def resumed_arguments(argv: Sequence[str]) -> list[str]:
    """Return the sweep's command line to resume it; change to the folder it was started in.

    Ends the program with a line if `argv` or the folder does not allow it.
    """
    given = next(line for line in reversed(argv) if line.startswith(KEY)).removeprefix(KEY)
    key = f"resume_sweep = {given!r}"
    others = [line for line in argv if line not in FLAGS and not line.startswith((KEY, *MAY_CHANGE))]
    if others:
        refuse([f"{key}: must be alone, but for -m and hydra.launcher.n_jobs: {' '.join(others)} cannot be changed"])
    if not set(argv) & set(FLAGS):
        refuse([f"{key}: must be with -m; a single run goes on with resume=<folder>"])
    sweep = path_of(given).absolute()
    try:
        plan = read_plan(sweep)
    except SweepError as error:
        refuse([f"{key}: must be the folder of a sweep ({error}){instead.of_resume_sweep(sweep)}"])
    if Path(plan["folder"]).is_dir():  # not where the sweep was moved together with it
        os.chdir(plan["folder"])
    changed = [line for line in argv if line.startswith(MAY_CHANGE)]
    return [*plan["arguments"], *changed, f"hydra.sweep.dir={quoted(str(sweep))}", "hydra.launcher.resume=true"]
