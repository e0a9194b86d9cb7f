"""The last lines of a sweep: its report, its best run, and the jobs that are left, as they can be typed."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from pwfn.config import program
from pwfn.sweep.next_steps import next_of_sweep
from pwfn.sweep.table import Row


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(program, "_subcommand", None)
    monkeypatch.setattr(program, "_started_in", str(tmp_path))
    (tmp_path / "a sweep").mkdir()
    return tmp_path / "a sweep"


def job(sweep: Path, number: int, code: int | None = 0, **summary: float) -> Row:
    folder = sweep / f"{number}_seed-{number}"
    folder.mkdir()
    if summary:
        named = {f"clustered/{key}": value for key, value in summary.items()}
        (folder / "result.json").write_text(json.dumps({"objective": 1, "summary": named}))
        (folder / "model.pwfn").touch()
    return Row(number, [f"seed={number}"], folder, code)


def commands(lines: list[str]) -> list[list[str]]:
    return [shlex.split(line.strip().split("  ", 1)[1]) for line in lines]


def test_the_best_run_by_validation_images_is_used_and_the_others_resumed(sweep: Path) -> None:
    rows = [
        job(sweep, 0, top1=90, val_top1=70),
        job(sweep, 1, top1=80, val_top1=80),
        job(sweep, 2, code=1),
        job(sweep, 3, code=None),
    ]
    (sweep / "report.html").touch()
    title, *lines = next_of_sweep(sweep, rows)
    assert title == "Next (of the runs, job 1 is the best by validation images):"
    load, measure, look, resume = commands(lines)
    assert load == ["python", "-c", "import pwfn; model = pwfn.load('a sweep/1_seed-1/model.pwfn')"]
    assert measure == ["python", "evaluate.py", 'run="a sweep/1_seed-1"']
    assert look[:2] == ["a", "sweep/report.html"]
    assert resume == ["python", "train.py", "-m", 'resume_sweep="a sweep"']


def test_without_validation_images_the_test_images_choose(sweep: Path) -> None:
    rows = [job(sweep, 0, top1=70, val_top1=90), job(sweep, 1, top1=80)]
    title, *lines = next_of_sweep(sweep, rows)
    assert title == "Next (of the runs, job 1 is the best by test images):"
    assert len(lines) == 2  # no report, nothing to resume


def test_jobs_without_a_network_leave_nothing_to_load(sweep: Path) -> None:
    """As those of a dry run."""
    rows = [job(sweep, 0), job(sweep, 1)]
    assert list(next_of_sweep(sweep, rows)) == []
    assert [line.strip()[:6] for line in next_of_sweep(sweep, [*rows, job(sweep, 2, code=1)])] == ["Next:", "resume"]


def test_a_program_that_went_elsewhere_names_whole_paths(
    sweep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program, "_started_in", str(tmp_path / "elsewhere"))  # as of a sweep that is resumed
    (_, line) = next_of_sweep(sweep, [job(sweep, 0, code=1)])
    assert commands([line])[0][-1] == f'resume_sweep="{sweep}"'
