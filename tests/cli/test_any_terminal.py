"""What is printed never ends a program, whatever characters the terminal has."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pwfn.config.terminal import print_any_character
from pwfn.run.start import Finished
from tests.support.project import PROJECT, SMALL, clean_environment

BEYOND = "läuft 图片 → ✓"


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_what_the_encoding_does_not_have_is_a_question_mark(monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    streams = {name: io.TextIOWrapper(io.BytesIO(), encoding=encoding) for name in ("stdout", "stderr")}
    for name, stream in streams.items():
        monkeypatch.setattr(sys, name, stream)
    print_any_character()
    print(BEYOND, flush=True)
    print(BEYOND, file=sys.stderr, flush=True)
    monkeypatch.undo()
    for stream in streams.values():
        assert isinstance(stream.buffer, io.BytesIO)
        assert stream.buffer.getvalue().decode(encoding) == BEYOND.encode(encoding, "replace").decode(encoding) + "\n"


def test_a_stream_that_is_no_file_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    for stream in (None, io.StringIO()):
        monkeypatch.setattr(sys, "stdout", stream)
        print_any_character()


def printed(folder: Path, *words: str, **variables: str) -> str:
    environment = {**clean_environment(COLUMNS="200"), **variables}
    done = subprocess.run(
        [sys.executable, "-m", "pwfn", *words],
        cwd=folder, env=environment | {"PYTHONPATH": str(PROJECT)}, capture_output=True, timeout=300, check=False,
    )  # fmt: skip
    text = (done.stdout + done.stderr).decode("ascii" if "PYTHONIOENCODING" not in variables else "cp1252")
    assert done.returncode == 0, text
    assert "UnicodeEncodeError" not in text
    return text


@pytest.mark.slow
def test_the_programs_in_terminals_with_few_characters(finished_run: Finished, tmp_path: Path) -> None:
    ascii_only, cp1252 = {"PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "cp1252"}
    of_c = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}  # as Python was before it made UTF-8 of it
    run = tmp_path / BEYOND.replace(" ", "_")
    words = ("quiet=false", "report=true", f"hydra.run.dir='{run}'", f"name='{BEYOND}'")
    assert "l?uft" in printed(tmp_path, "train", *SMALL, *words, **ascii_only)
    assert "läuft_??" in printed(tmp_path, "evaluate", f"run='{run}'", "resamples=0", **cp1252)
    assert "l?uft" in printed(tmp_path, "evaluate", f"report='{run}'", **ascii_only)
    assert "format version 1\n" in printed(tmp_path, "describe", os.fspath(finished_run.folder / "model.pwfn"), **of_c)
