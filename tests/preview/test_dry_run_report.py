"""`dry_run=true`: what the folder and the console say of its rounds."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import timm

from pwfn.preview.dry_run import DryRunRecord
from pwfn.preview.dry_run_report import DISPLACED, LAYER_COLUMNS
from pwfn.preview.verdict import Alarm, verdict
from pwfn.report import REPORT
from tests.support.project import Compose, Program
from tests.support.runs.dry_runs import FILES, SMALL, read, run, settings


def test_the_verdict_names_sizes_or_what_has_to_be_mended(finished: tuple) -> None:
    _, _, records, said = finished
    size = records[-1].size
    assert said.splitlines()[-1] == verdict(size, [])
    assert f"{size.fp32_mb:.2f} MB would become about {size.entropy_mb:.2f} MB" in verdict(size, [])
    assert verdict(size, [Alarm("RANDOM HEAD: x")]) == verdict(size, [])
    assert verdict(size, [Alarm("RANDOM HEAD: x"), Alarm("A RUN: x", "none: x")]) == "Verdict: none: x"


def test_the_folder_holds_the_rounds_the_layers_and_no_training(finished: tuple) -> None:
    _, folder, records, said = finished
    assert sorted(path.name for path in folder.iterdir()) == FILES
    rows = json.loads((folder / "dry_run.json").read_text())
    assert [DryRunRecord.from_flat(row) for row in rows] == records
    assert read(folder / "dry_run.csv", DryRunRecord.columns()) == rows
    layers = read(folder / "layers.csv", LAYER_COLUMNS)
    names = {name for name, _ in timm.create_model("test_resnet").named_parameters()}
    assert {row["name"] for row in layers} <= names
    assert len(layers) > 10
    l2 = [row["l2"] for row in layers]
    assert l2 == sorted(l2, reverse=True)
    weights = sum(row["weights"] for row in layers)
    assert sum(row["weights"] * row["tolerances"] for row in layers) / weights == pytest.approx(
        records[-1].tolerances.mean
    )
    result = json.loads((folder / "result.json").read_text())
    assert result["objective"] == result["summary"]["entropy_mb"] == rows[-1]["entropy_mb"]
    assert all(rows[-1][key] == value for key, value in result["summary"].items())
    assert len(result["summary"]) == 6
    assert f"Files in {folder}: {', '.join(FILES)}" in said.splitlines()


def test_every_column_has_a_meaning_and_a_unit() -> None:
    for column in [*DryRunRecord.columns().values(), *LAYER_COLUMNS.values()]:
        assert len(column.meaning) > 5, column.key
        assert column.unit, column.key
    assert len(DryRunRecord.columns()) == 23


def test_the_console_shows_rounds_tables_and_the_farthest_layers(finished: tuple) -> None:
    _, folder, records, said = finished
    lines = [line.split() for line in said.splitlines()]
    last = records[-1]
    assert [line[0] for line in lines if len(line) == 11 and line[0] in "123"] == ["1", "2", "3"]
    assert ["3", "100.0", str(last.codebook_size), f"{last.entropy_bits:.2f}"] in [line[:4] for line in lines]
    layers = read(folder / "layers.csv", LAYER_COLUMNS)
    listed = [line[0] for line in lines if len(line) == 5 and line[0] in {row["name"] for row in layers}]
    assert listed == [row["name"] for row in layers[:DISPLACED]]
    assert "share the codebook" in said
    assert "round 2: 90.0 % fixed to" in said
    size = f"entropy {last.entropy_bits:.2f} bits each, {last.size.entropy_mb:.2f} MB"
    assert f"on {last.codebook_size:,} values: {size}" in said
    assert "5 weights start at exactly 0" in said
    assert "RANDOM" not in said
    rules = [len(line) for line in said.splitlines() if line.startswith("─")]
    assert len(rules) == 5
    assert max(rules) <= 80


def test_random_weights_are_said_aloud_first_and_last(composed: Compose, tmp_path: Path) -> None:
    _, said = run(settings(composed), tmp_path)
    lines = said.splitlines()
    assert lines[0].startswith("RANDOM WEIGHTS: no file of weights was given for test_resnet.r160_in1k")
    assert lines[0] in lines[-3:]
    assert "model.checkpoint=<file>" in lines[0]
    quiet = run(settings(composed, "quiet=true"), tmp_path)[1]
    assert quiet.count("RANDOM WEIGHTS") == 1
    assert "round 1:" not in quiet


def test_of_random_weights_no_size_is_shown_and_the_verdict_is_a_command(
    composed: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = ["hydra.run.dir=sweep/0", "hydra.mode=RUN", "hydra.job.num=0"]  # what a sweep adds to a job's command
    monkeypatch.setattr(sys, "argv", ["train.py", "dry_run=true", "experiment=recommended", *job])
    _, said = run(settings(composed), tmp_path)
    shown = [line for line in said.splitlines() if not line.startswith(("RANDOM", "Files"))]
    assert [line for line in shown if " MB" in line or " bits" in line or "displaced" in line] == []
    assert "\nround 2: 90.0 % fixed, " in said
    command = "python train.py dry_run=true experiment=recommended model.checkpoint=<file>"
    assert shown[-1].startswith("Verdict: none: sizes of random weights mean nothing")
    assert shown[-1].endswith(f": {command}")


def test_a_head_that_is_made_anew_is_said_aloud(composed: Compose, weights: Path, tmp_path: Path) -> None:
    _, said = run(settings(composed, f"model.checkpoint={weights}", "data=synthetic", "data.channels=3"), tmp_path)
    assert said.startswith("RANDOM HEAD: the weights are for 1000 classes, Synthetic has 10")
    assert "with 10 classes (those of Synthetic)" in said


def test_a_channel_and_a_class_count_come_from_the_data(composed: Compose, tmp_path: Path) -> None:
    _, said = run(settings(composed, "data=digits"), tmp_path)
    assert "test_resnet.r160_in1k with 10 classes (those of Digits), input channels 1" in said
    for split in ("train/a", "train/b", "val/a", "val/b"):
        (tmp_path / split).mkdir(parents=True)
    _, said = run(settings(composed, f"data.root={tmp_path}"), tmp_path / "run")
    assert "with 2 classes (those of ImageFolder), input channels 3" in said


@pytest.mark.slow
def test_a_sweep_of_dry_runs_ends_with_its_table(program: Program, tmp_path: Path) -> None:
    sweep = ("-m", *SMALL, "quiet=true", "codebook.b=5,7", "hydra.sweep.dir=sweep", "hydra.launcher.n_jobs=2")
    done = program(tmp_path, "train.py", *sweep)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["sweep"]  # no W&B run
    *_, first, second, report, following, look = done.stdout.splitlines()
    assert report == f"Report: {tmp_path / 'sweep' / REPORT}"
    assert (following, look) == ("Next:", f"  look at it  sweep/{REPORT} in a browser")
    assert (tmp_path / "sweep" / REPORT).stat().st_size > 1e6
    for job, line in enumerate((first, second)):
        folder = tmp_path / "sweep" / f"{job}_codebook.b-{'57'[job]}"
        figures = json.loads((folder / "result.json").read_text())["summary"]
        assert line.split()[:3] == [str(job), "57"[job], str(figures["codebook_size"])]
        made = [*FILES, ".hydra", "train.log", "console.log"]
        assert sorted(path.name for path in folder.glob("*.*")) == sorted(made)
