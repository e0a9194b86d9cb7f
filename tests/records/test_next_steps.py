"""The last lines of a run: what can be done with it, as it can be typed."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest

from pwfn.config import program
from pwfn.records.next_steps import next_steps


def commands(lines: list[str]) -> list[list[str]]:
    return [shlex.split(line.strip().split("  ", 1)[1]) for line in lines]


def test_the_lines_can_be_typed_where_the_run_was_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(program, "_subcommand", None)
    monkeypatch.setattr(program, "_started_in", None)
    first, *lines = next_steps(tmp_path / "outputs/a b", tmp_path / "outputs/a b/report.html")
    assert first == "Next:"
    load, measure, look = commands(lines)
    assert load[:2] == ["python", "-c"]
    assert load[2] == "import pwfn; model = pwfn.load('outputs/a b/model.pwfn')"
    assert measure == ["python", "evaluate.py", 'run="outputs/a b"']  # these quotes are for Hydra's grammar
    assert lines[2].strip().split("  ", 1)[1].startswith("outputs/a b/report.html")
    assert look


def test_a_folder_elsewhere_is_absolute_and_no_report_is_named_where_none_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(program, "_subcommand", "train")
    monkeypatch.setattr(sys, "argv", ["/usr/bin/pwfn"])
    monkeypatch.setattr(program, "_main_spec", lambda: None)
    monkeypatch.setattr(program, "_started_in", None)
    _, load, measure = next_steps(tmp_path / "run", None)
    assert f"'{tmp_path}/run/model.pwfn'" in commands([load])[0][2]
    assert commands([measure]) == [["pwfn", "evaluate", f"run={tmp_path}/run"]]
