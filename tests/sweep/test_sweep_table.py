"""The table that ends a sweep, from what jobs left in their folders."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from pwfn.records.rounds import write_result
from pwfn.sweep import table as sweep_table
from pwfn.sweep.table import Row, read_result


def row(folder: Path, number: int, overrides: list[str], code: int | None = 0, **figures: Any) -> Row:
    job = folder / str(number)
    job.mkdir()
    if figures:
        write_result(job, 1.5, figures)
    return Row(number, overrides, job, code)


def shown(rows: list[Row], width: int = 120) -> list[list[str]]:
    out = io.StringIO()
    Console(file=out, width=width).print(sweep_table.sweep_table(rows))
    return [line.split() for line in out.getvalue().splitlines() if line.strip() and "─" not in line]


def test_jobs_write_the_file_that_the_table_reads(tmp_path: Path) -> None:
    write_result(tmp_path, 97.5, {"clustered/top1": 97.5, "unique_weights": 88})
    assert read_result(tmp_path) == {"objective": 97.5, "summary": {"clustered/top1": 97.5, "unique_weights": 88}}


def test_only_what_differs_is_told_of_the_overrides(tmp_path: Path) -> None:
    rows = [
        row(tmp_path, 0, ["a.b=5", "+c=x=1", "same=7"], top1=98.123456, unique_weights=12345),
        row(tmp_path, 1, ["a.b=6", "+c=y", "same=7"], top1=5.0, unique_weights=7),
    ]
    assert shown(rows) == [
        ["a.", "unique"],
        ["job", "b", "c", "top1", "weights"],
        ["0", "5", "x=1", "98.12", "12,345"],
        ["1", "6", "y", "5", "7"],
    ]


def test_square_brackets_are_text(tmp_path: Path) -> None:
    rows = [
        row(tmp_path, 0, ["a=[head]"], top=1),
        row(tmp_path, 1, ["a='[/data/x]'"], code=1)._replace(reason="shape [batch, 3]"),
    ]
    assert shown(rows)[1:] == [["0", "[head]", "1"], ["1", "'[/data/x]'", "FAILED:", "shape", "[batch,", "3]"]]


def test_failed_and_unfinished_jobs_are_marked_and_show_no_figures(tmp_path: Path) -> None:
    rows = [
        row(tmp_path, 0, ["a=1"], bits=3.0),
        row(tmp_path, 1, ["a=2"], code=1, bits=9.0),  # what an interrupted job had written by then
        row(tmp_path, 2, ["a=3"], code=None),
        row(tmp_path, 3, ["a=4"]),  # a job that writes no result
    ]
    assert shown(rows) == [
        ["job", "a", "bits"],
        ["0", "1", "3"],
        ["3", "4"],
        ["1", "2", "FAILED:", "exit", "code", "1"],
        ["2", "3", "not", "finished"],
    ]


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"summary": 3}', '{"summary": {"a": "text", "b": null}}', "\0"])
def test_a_result_that_cannot_be_read_costs_its_figures_only(tmp_path: Path, text: str) -> None:
    broken, good = row(tmp_path, 0, ["a=1"]), row(tmp_path, 1, ["a=2"], bits=2.5)
    (broken.folder / "result.json").write_text(text)
    assert shown([broken, good])[1:] == [["0", "1"], ["1", "2", "2.5"]]


def test_jobs_of_different_kinds_share_a_table(tmp_path: Path) -> None:
    rows = [row(tmp_path, 0, ["dry_run=true"], mb=1.5), row(tmp_path, 1, [], top1=90.0)]
    assert shown(rows)[1:] == [["job", "run", "mb", "top1"], ["0", "true", "1.5"], ["1", "90"]]


def test_a_pipe_gets_the_whole_width(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figures = {f"{'long' * 5}{i}": i for i in range(20)}
    sweep_table.print_table([row(tmp_path, 0, ["a=1"], **figures), row(tmp_path, 1, ["a=2"], **figures)])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5
    assert all(name in lines[1] for name in figures)
    assert json.loads((tmp_path / "0/result.json").read_text())["summary"] == figures


def result(top1: float, bits: float | None = None) -> dict[str, float]:
    return {"clustered/top1": top1} | ({} if bits is None else {"entropy_bits": bits})


def test_the_best_job_is_first_and_failures_are_last_with_their_reason(tmp_path: Path) -> None:
    rows = [
        row(tmp_path, 0, ["a=0"], code=-9)._replace(reason="killed by SIGKILL"),
        row(tmp_path, 1, ["a=1"], **result(90.0, 3.0)),
        row(tmp_path, 2, ["a=2"], **result(float("nan"), 0.1)),
        row(tmp_path, 3, ["a=3"], **result(98.0, 3.5)),
        row(tmp_path, 4, ["a=4"], code=None),
        row(tmp_path, 5, ["a=5"], code=143)._replace(reason="stopped by SIGTERM"),
        row(tmp_path, 6, ["a=6"], **result(98.0, 3.25)),
    ]
    lines = shown(rows)[2:]
    assert [line[0] for line in lines] == ["6", "3", "1", "2", "0", "5", "4"]
    assert lines[4:] == [
        ["0", "0", "FAILED:", "killed", "by", "SIGKILL"],
        ["5", "5", "INTERRUPTED:", "stopped", "by", "SIGTERM"],
        ["4", "4", "not", "finished"],
    ]


def test_dry_runs_keep_the_order_of_their_grid(tmp_path: Path) -> None:
    rows = [row(tmp_path, number, [f"a={number}"], entropy_bits=9.0 - number % 2) for number in range(4)]
    assert [line[0] for line in shown(rows)[2:]] == ["0", "1", "2", "3"]


def test_the_table_is_saved_for_people_and_programs(tmp_path: Path) -> None:
    rows = [
        row(tmp_path, 0, ["a=x,y", "b=1"], code=1)._replace(reason='says "no", twice', seconds=1.23456),
        row(tmp_path, 1, ["a=z", "b=1"], **result(90.0, 3.1)),
    ]
    (tmp_path / "jobs.json").write_text(json.dumps([{"job": 1, "seconds": 7.5}]))  # of an earlier time
    sweep_table.write_table(tmp_path, rows)
    first, second = json.loads((tmp_path / "jobs.json").read_text())
    assert first == {
        "job": 1,
        "status": "done",
        "reason": None,
        "exit_code": 0,
        "seconds": 7.5,
        "folder": "1",
        "overrides": ["a=z", "b=1"],
        "objective": 1.5,
        "summary": {"clustered/top1": 90.0, "entropy_bits": 3.1},
    }
    assert (second["status"], second["exit_code"], second["seconds"]) == ("failed", 1, 1.235)
    read = list(csv.DictReader(io.StringIO((tmp_path / "jobs.csv").read_text())))
    assert [line["a"] for line in read] == ["z", "x,y"]
    assert "b" not in read[0]
    assert (read[0]["clustered/top1"], read[1]["reason"], read[1]["clustered/top1"]) == ("90.0", 'says "no", twice', "")


def test_jobs_are_ordered_by_validation_images_only_where_all_have_some(tmp_path: Path) -> None:
    rows = [Row(number, [], tmp_path / str(number), 0) for number in range(2)]
    for row, found in zip(
        rows, ({"clustered/top1": 95.0, "clustered/val_top1": 90.0}, {"clustered/top1": 92.0}), strict=True
    ):
        row.folder.mkdir()
        write_result(row.folder, 0.0, found)
    assert [row.number for row in sweep_table.in_order(rows)] == [0, 1]
    write_result(rows[1].folder, 0.0, {"clustered/top1": 92.0, "clustered/val_top1": 91.0})
    assert [row.number for row in sweep_table.in_order(rows)] == [1, 0]
