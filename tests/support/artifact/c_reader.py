"""Build the reader in C and run it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.project import PROJECT

READER = PROJECT / "readers" / "c"
WARNINGS = ("-std=c99", "-Wall", "-Wextra", "-pedantic", "-Werror")
SANITIZED = ("-O2", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer")
MOST_WEIGHTS = 10_000_000  # of a file that the checks take; the small network has half a million


def compiled(folder: Path, *sources: str, flags: Sequence[str] = ("-O2",)) -> Path:
    """The program of these sources and the reader; skips the test where there is no C compiler."""
    compiler = os.environ.get("CC") or shutil.which("cc")
    if compiler is None:
        pytest.skip("readers/c is not tested: there is no C compiler (cc, or CC=...)")
    program = folder / Path(sources[0]).stem
    paths = [str(READER / source) for source in (*sources, "pwfn.c")]
    done = subprocess.run(
        [compiler, *WARNINGS, *flags, *paths, "-lz", "-lm", "-o", str(program)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return program


def run(program: Path, *arguments: str | Path, text: str = "") -> str:
    """What a program prints; fails where it does, or where a sanitizer has a complaint."""
    done = subprocess.run([program, *arguments], input=text, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stderr == ""
    return done.stdout


def verdicts(program: Path, paths: Sequence[Path]) -> list[str]:
    """`sound` or `refused: why` for each file, all read in one process."""
    lines = run(program, "--check", str(MOST_WEIGHTS), text="".join(f"{path}\n" for path in paths)).splitlines()
    assert len(lines) == len(paths)
    return lines
