"""Files, logger and console get the same record, and files are whole at every moment."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
from pathlib import Path

import pytest
from rich.console import Console

from pwfn.monitoring.round_tables import round_line, rounds_table, sentence
from pwfn.monitoring.run_reporter import RunReporter
from pwfn.records.files import NotWritten
from pwfn.records.rounds import CLUSTER_COLUMNS, RoundRecord, read_records
from tests.support.runs.round_records import BASELINE, cluster, record
from tests.support.runs.run_files import read_clusters


def reporter(folder: Path, width: int = 100) -> tuple[RunReporter, io.StringIO]:
    out = io.StringIO()
    made = RunReporter(folder, None, Console(file=out, width=width))
    made.start(BASELINE)
    return made, out


def test_csv_json_and_records_agree_to_the_last_bit(tmp_path: Path) -> None:
    made, _ = reporter(tmp_path)
    records = [record(n) for n in range(3)]
    for one in records:
        made.add(one, [])
    with (tmp_path / "rounds.csv").open(newline="") as file:
        from_csv = [RoundRecord.from_flat(row) for row in csv.DictReader(file)]
    assert from_csv == records
    assert read_records(tmp_path) == records
    assert json.loads((tmp_path / "rounds.json").read_text()) == [one.flat() for one in records]


def test_clusters_csv_holds_every_round(tmp_path: Path) -> None:
    made, _ = reporter(tmp_path)
    made.add(record(0), [cluster(0.0), cluster(0.25)])
    made.add(record(1), [cluster(-0.1)])
    rows = read_clusters(tmp_path)
    assert [(row["round"], row["value"], row["count"]) for row in rows] == [(0, 0.0, 17), (0, 0.25, 17), (1, -0.1, 17)]
    assert (tmp_path / "clusters.csv").read_text().splitlines()[0] == ",".join(CLUSTER_COLUMNS)


def test_rounds_have_to_come_in_order(tmp_path: Path) -> None:
    made, _ = reporter(tmp_path)
    with pytest.raises(ValueError, match="round = 1: must be 0"):
        made.add(record(1), [])
    assert not (tmp_path / "rounds.csv").exists()


def test_a_failure_while_writing_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, _ = reporter(tmp_path)
    made.add(record(0), [cluster(0.5)])
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert set(before) == {"rounds.csv", "rounds.json", "clusters.csv"}

    def full_disk(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        made.add(record(1), [cluster(0.25)])
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("written", [0, 1, 2])
def test_a_disk_that_fills_up_leaves_every_file_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: int
) -> None:
    made, _ = reporter(tmp_path)
    made.add(record(0), [cluster(0.5)])
    names, room, flush = {path.name for path in tmp_path.iterdir()}, iter(range(written)), os.fsync

    def fsync(file: int) -> None:
        if next(room, None) is None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        flush(file)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(NotWritten, match=r"cannot be written \(No space left on device\)"):
        made.add(record(1), [cluster(0.25)])
    assert {path.name for path in tmp_path.iterdir()} == names
    rows = list(csv.DictReader((tmp_path / "rounds.csv").open()))
    assert [RoundRecord.from_flat(row) for row in rows] == [record(n) for n in range(1 + (written > 0))]
    assert read_records(tmp_path) == [record(n) for n in range(1 + (written > 1))]
    assert [row["value"] for row in read_clusters(tmp_path)] == [0.5]


def test_a_resumed_run_keeps_the_rounds_before_and_redoes_the_others(tmp_path: Path) -> None:
    made, _ = reporter(tmp_path)
    for n in range(3):
        made.add(record(n), [cluster(n)])
    again = RunReporter(tmp_path, None, Console(file=io.StringIO()))
    again.start(BASELINE, [record(0)], [{**cluster(0), "round": 0}])
    assert read_records(tmp_path) == [record(0)]
    assert len(read_clusters(tmp_path)) == 1
    again.add(record(1, steps=999), [cluster(0.125)])
    assert read_records(tmp_path) == [record(0), record(1, steps=999)]
    assert [row["value"] for row in read_clusters(tmp_path)] == [0.0, 0.125]


def test_a_run_resumed_within_its_first_round_starts_with_no_rounds(tmp_path: Path) -> None:
    made, _ = reporter(tmp_path)
    made.add(record(0), [cluster(0)])
    RunReporter(tmp_path, None, Console(file=io.StringIO())).start(BASELINE)
    assert not list(tmp_path.iterdir())


def test_a_run_without_training_and_limits_has_no_columns_for_them(tmp_path: Path) -> None:
    made, _ = reporter(tmp_path)
    once = record(0, fraction=1.0, epochs=0.0)
    line = made.add(once, [])
    assert line.endswith(", top1 98.17 % (-0.72 points)")
    table = rounds_table([once], BASELINE, None)
    headings = [" ".join(str(column.header).split()) for column in table.columns]
    assert headings == [
        *(
            "round",
            "fixed %",
            "code book",
            "unique",
            "entropy bits",
            "clustered top1 %",
            "change points",
            "moved",
            "sec",
        )
    ]
    assert [list(column.cells) for column in table.columns][5:7] == [["98.89", "98.17"], ["", "-0.72"]]


def test_add_prints_nothing_and_returns_the_line(tmp_path: Path) -> None:
    made, out = reporter(tmp_path)
    line = made.add(record(0), [])
    assert out.getvalue() == ""
    assert line == round_line(record(0), BASELINE)
    assert line.startswith(
        "round 1: 20.0 % fixed to 93 values, entropy 18.12 bits, top1 99.31 % trained, 98.17 % clustered (-0.72"
    )


def test_finish_writes_the_summary_and_prints_table_and_result(tmp_path: Path) -> None:
    made, out = reporter(tmp_path, width=40)
    records = [record(0), record(8, fraction=1.0)]
    made.add(records[0], [])
    made.finish(records, BASELINE, {"seed": 0, "weights": 11_167_818, "folder": tmp_path})
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["pretrained"] == {"top1": 98.89, "top5": 99.97, "loss": 0.0412}
    assert RoundRecord.from_flat(summary["final"]) == records[-1]
    assert summary["top1_change"] == pytest.approx(98.17 - 98.89)
    assert summary["rounds"] == 2
    assert summary["run"] == {"seed": 0, "weights": 11_167_818, "folder": str(tmp_path)}
    text = out.getvalue()
    assert "\x1b" not in text
    lines = text.splitlines()
    # into a file the table is never cut to the width that was guessed, and the sentence stays in one line
    assert lines[5].split()[:3] == ["9", "100.0", "101"]
    assert lines[5].split()[-1] == "13"
    assert lines[7] == sentence(records[-1], BASELINE, 11_167_818)
    assert len(lines) == 8
    names = ["clusters.csv", "result.json", "rounds.csv", "rounds.json", "summary.json"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names


def test_a_run_without_rounds_still_finishes(tmp_path: Path) -> None:
    made, out = reporter(tmp_path)
    made.finish([], BASELINE, {})
    assert json.loads((tmp_path / "summary.json").read_text())["final"] is None
    assert "No round was finished." in out.getvalue()


def test_what_followed_the_last_clustering_is_called_by_its_name(tmp_path: Path) -> None:
    reporter = RunReporter(tmp_path, None, Console(file=io.StringIO()))
    reporter.start(BASELINE)
    full = [record(0, fraction=0.5), record(1, fraction=1.0), record(2, fraction=1.0)]
    lines = [reporter.add(one, []) for one in full]
    assert lines[1].startswith("round 2: 100.0 % fixed")
    assert lines[2].startswith("finishing: top1 99.31 % trained")
    table = rounds_table(full, BASELINE, "units")
    assert list(table.columns[0].cells) == ["pretrained", "1", "2", "finish"]
    assert [column.header for column in table.columns][8] == "limit\nunits"
