"""docs/study.md agrees with results/, and scripts/study/ reads the folders of runs."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import pytest

from scripts.study import collect, tables
from tests.support.project import PROJECT

RESULTS = PROJECT / "results"


FILES = sorted(RESULTS.glob("*_rounds.csv"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_tables_of_the_study_are_those_that_the_results_make(path: Path) -> None:
    page = (PROJECT / "docs/study.md").read_text(encoding="utf-8")
    made = tables.made_of(path.stem.removesuffix("_rounds"), tables.finals(path))
    for title, lines in made.items():
        assert (f"<!-- {title} -->" in page) == bool(lines)
        assert tables.put(page, title, lines) == page


def test_what_the_study_says_of_its_comparisons_is_what_the_results_say() -> None:
    page = (PROJECT / "docs/study.md").read_text(encoding="utf-8")
    assert tables.put(page, "chances", tables.chances(tables.trained())) == page


def test_the_chance_of_a_difference_is_students() -> None:
    # t = 2 sqrt(3) = 3.4641 with 2 degrees of freedom: p = 1 - t / sqrt(t^2 + 2) = 0.074180
    pair = tables.Pair("a", 1.0, "b", 2.0, [1.0, 2.0, 3.0])
    assert pair.chance == pytest.approx(0.0741799, abs=1e-6)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_run_has_all_its_rounds_a_clean_commit_and_a_command(path: Path) -> None:
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert all(len(row["commit"]) == 40 and row["command"].startswith("python train.py ") for row in rows)
    for run in {(row["command"], row["commit"]) for row in rows}:
        rounds = [int(row["round"]) for row in rows if (row["command"], row["commit"]) == run]
        assert rounds == list(range(len(rounds)))


def test_paired_differences_have_the_interval_of_students_t() -> None:
    # mean 2, standard deviation 1, t(0.975, 2) = 4.302653: half width 4.302653 / sqrt(3) = 2.484138
    assert tables.mean_and_half([1.0, 2.0, 3.0]) == pytest.approx((2.0, 2.484138), abs=1e-6)
    assert tables.interval([1.0, 2.0, 3.0]) == "+2.00 [-0.48, +4.48]"
    assert tables.verdict([1.0, 2.0, 3.0]) == "no difference seen"
    assert (tables.verdict([1.9, 2.0, 2.1]), tables.verdict([-1.9, -2.0, -2.1])) == ("better", "worse")


def test_runs_are_collected_once_with_all_their_rounds(
    smoke: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    unfinished = tmp_path / "b"
    unfinished.mkdir()
    (unfinished / "summary.json").write_text("{}")
    monkeypatch.setattr(collect, "RESULTS", tmp_path)
    monkeypatch.setattr(sys, "argv", ["collect.py", str(smoke / "run"), str(unfinished), "--name", "x"])
    for _ in range(2):
        collect.main()
    assert f"left out: {unfinished} is unfinished" in capsys.readouterr().err
    with (tmp_path / "x_rounds.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    records = json.loads((smoke / "run/rounds.json").read_text())
    assert [float(row["clustered/top1"]) for row in rows] == [record["clustered/top1"] for record in records]
    assert [bool(row["file_mb"]) for row in rows] == [False] * (len(rows) - 1) + [True]
