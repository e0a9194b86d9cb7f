"""Runs that W&B keeps in files: what they hold, how they start and how they end."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import wandb

from pwfn.monitoring.loggers.spec import run_logger
from pwfn.monitoring.wandb.spec import Wandb
from pwfn.records.metric_names import ROUND_VIEW
from pwfn.records.rounds import CLUSTER_COLUMNS, COLUMNS
from tests.support.loggers.wandb_offline import find_runs, read_run
from tests.support.loggers.wandb_runs import build, whole_run
from tests.support.runs.round_records import BASELINE, record, view

pytestmark = pytest.mark.usefixtures("wandb_folders")


@pytest.mark.slow
def test_offline_run_holds_the_very_rows_of_rounds_csv(tmp_path: Path) -> None:
    config = {"model": {"name": "resnet18", "sizes": [1, 2]}, "seed": 0, "hub": {"token": "hf_secret"}}
    environment = dict(os.environ)
    whole_run(Wandb(save_dir=str(tmp_path), tags=("paper", "a"), notes="n"), tmp_path, "first", config=config)
    changed = {key for key, _ in dict(os.environ).items() ^ environment.items()}
    assert changed <= {"WANDB_SERVICE"}  # the address of W&B's helper process, which serves all runs
    [path] = find_runs(tmp_path)
    run = read_run(path)

    with (tmp_path / "first" / "rounds.csv").open(newline="") as file:
        rows = [{key: COLUMNS[key].read(row) for key in row} for row in csv.DictReader(file)]
    logged = [row for row in run.history if "round" in row]
    assert [{key: row.get(key) for key in COLUMNS} for row in logged] == rows
    assert len(run.history) == 4
    assert all("train/loss" not in row for row in logged)

    assert {key: run.step_metrics[key] for key in COLUMNS if key != "round"} == dict.fromkeys(
        (key for key in COLUMNS if key != "round"), "round"
    )
    assert run.step_metrics["round"] == ""
    assert run.step_metrics["*"] == "trainer/global_step"

    assert {key: run.summary.get(key) for key in COLUMNS} == rows[-1]
    assert run.summary["pretrained/top1"] == BASELINE.top1
    assert run.summary["top1_drop"] == pytest.approx(98.89 - 98.17)

    assert (run.name, run.project, run.group, run.job_type) == ("first", "pwfn", "sweep-7", "train")
    assert run.tags == ["paper", "a"]
    assert run.config["model"] == {"name": "resnet18", "sizes": [1, 2]}
    assert run.config["seed"] == 0
    assert b"hf_secret" not in path.read_bytes()
    assert run.config["hub"] == {"token": "***"}
    assert run.exit_code == 0


def test_two_runs_of_one_process_stay_apart(tmp_path: Path) -> None:
    spec = Wandb(save_dir=str(tmp_path), group="mine")
    whole_run(spec, tmp_path, "first", rounds=1, config={"seed": 1})
    assert wandb.run is None
    whole_run(spec, tmp_path, "second", rounds=3, config={"seed": 2})
    first, second = (read_run(path) for path in find_runs(tmp_path))
    assert (first.name, second.name) == ("first", "second")
    assert (first.group, second.group) == ("mine", "mine")
    assert (first.config["seed"], second.config["seed"]) == (1, 2)
    assert [row["round"] for row in first.history if "round" in row] == [0]
    assert [row["round"] for row in second.history if "round" in row] == [0, 1, 2]


@pytest.mark.parametrize(
    ("mode", "set_by_user", "seen"),
    [("offline", None, "false"), ("offline", "true", "true"), ("disabled", None, "false")],
)
def test_only_the_start_of_an_offline_run_is_kept_from_looking_up_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: Any, set_by_user: str | None, seen: str | None
) -> None:
    name, init = "WANDB_ERROR_REPORTING", wandb.init
    if set_by_user is not None:
        monkeypatch.setenv(name, set_by_user)
    at_start: list[str | None] = []
    monkeypatch.setattr(wandb, "init", lambda **options: (at_start.append(os.environ.get(name)), init(**options))[1])
    logger = build(Wandb(save_dir=str(tmp_path), mode=mode), tmp_path)
    logger.start_rounds(COLUMNS)
    assert at_start == [seen]
    assert os.environ.get(name) == set_by_user


def test_an_online_run_starts_with_the_environment_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[tuple[str, str | None]] = []

    def init(**options: Any) -> object:
        started.append((options["mode"], os.environ.get("WANDB_ERROR_REPORTING")))
        return SimpleNamespace(define_metric=lambda *_, **__: None)

    monkeypatch.setattr(wandb, "init", init)
    _ = build(Wandb(save_dir=str(tmp_path), mode="online"), tmp_path).experiment
    assert started == [("online", None)]


def test_a_failed_run_is_marked_as_failed(tmp_path: Path) -> None:
    spec = Wandb(save_dir=str(tmp_path))
    logger = build(spec, tmp_path)
    logger.start_rounds(COLUMNS)
    spec.close(logger, 1)
    assert read_run(find_runs(tmp_path)[0]).exit_code == 1


def test_a_run_that_a_scheduler_ends_is_marked_as_preempting_and_keeps_its_id(tmp_path: Path) -> None:
    spec = Wandb(save_dir=str(tmp_path))
    logger = spec.build(config={}, name="first", folder=tmp_path, group=None, run_id="0123abcd")
    logger.start_rounds(COLUMNS)
    logger.mark_preempting()
    spec.close(logger, 143)
    (path,) = find_runs(tmp_path)
    run = read_run(path)
    assert path.name == "run-0123abcd.wandb"
    assert run.preempting
    assert run.exit_code == 143


def test_closing_a_run_that_never_began_starts_none(tmp_path: Path) -> None:
    spec = Wandb(save_dir=str(tmp_path))
    spec.close(build(spec, tmp_path), 1)
    spec.close(None, 1)
    assert find_runs(tmp_path) == []


def test_disabled_writes_nothing_but_the_runs_own_files(tmp_path: Path) -> None:
    whole_run(Wandb(save_dir=str(tmp_path), mode="disabled"), tmp_path, "first")
    assert find_runs(tmp_path) == []
    assert not list(tmp_path.glob("wandb/*run-*"))
    assert (tmp_path / "first" / "rounds.csv").exists()
    assert wandb.run is None


def test_wandb_gets_histograms_the_rows_of_clusters_and_the_picture(tmp_path: Path) -> None:
    spec = Wandb(save_dir=str(tmp_path))
    logger = build(spec, tmp_path)
    told = run_logger(logger)
    told.start_rounds([*COLUMNS, *ROUND_VIEW])
    told.report_round(record(0).numbers(), view())
    (tmp_path / "model.pwfn").write_bytes(b"weights")
    told.report_artifact(tmp_path / "model.pwfn", {"weights": 4})
    spec.close(logger, 0)
    (path,) = find_runs(tmp_path)
    run = read_run(path)
    row, table_row = run.history
    assert (row["round"], table_row["round"]) == (0, 0)  # the row does not wait for the table
    assert row["histogram/mu.values"] == [0, 0, 3, 1]
    assert row["histogram/mu.bins"] == [-1, -0.5, 0, 0.5, 1]
    table = json.loads((path.parent / "files" / table_row["clusters.path"]).read_text())
    assert table["columns"] == [key for key in CLUSTER_COLUMNS if key != "round"]
    assert table["data"] == [list(one.values()) for one in view().clusters]
    assert (row["codebook.width"], row["codebook.height"]) == (5, 4)
    assert (path.parent / "files" / row["codebook.path"]).read_bytes()[:4] == b"\x89PNG"
    assert all(run.step_metrics[key] == "round" for key in ROUND_VIEW)
    (artifact,) = [one for one in run.artifacts if one.type == "model"]
    assert json.loads(artifact.metadata) == {"weights": 4}
    (entry,) = artifact.manifest.contents
    assert (entry.path, entry.local_path) == ("model.pwfn", str(tmp_path / "model.pwfn"))


def test_the_artifact_can_be_left_out(tmp_path: Path) -> None:
    spec = Wandb(save_dir=str(tmp_path), artifact=False)
    logger = build(spec, tmp_path)
    run_logger(logger).start_rounds(COLUMNS)
    run_logger(logger).report_artifact(tmp_path / "not there", {})
    spec.close(logger, 0)
    assert read_run(find_runs(tmp_path)[0]).artifacts == []
