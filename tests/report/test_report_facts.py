"""What the report says of a run in words, against its configuration and files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import pytest

from pwfn.report import REPORT
from pwfn.report.collect import Run, read_run
from pwfn.report.compare import difference_cells, figure_cells
from pwfn.report.facts import FILES, facts, files, subject_of, way_of
from pwfn.report.page import Row, _best, write_report
from pwfn.run.start import Finished
from tests.support.runs.report_runs import Page, copy_run


@pytest.fixture
def run(finished_run: Finished) -> Run:
    return read_run(finished_run.folder, "a name")


def changed(run: Run, classes: int = 10, **config: object) -> Run:
    keys = {key.replace("__", "."): value for key, value in config.items()}
    return replace(run, config={**run.config, **keys}, facts={**run.facts, "classes": classes})


def test_what_a_reader_asks_of_a_run(run: Run, finished_run: Finished) -> None:
    assert subject_of(run) == "test_resnet.r160_in1k on Synthetic (60 test images)"
    known = dict(facts(run))
    assert known["network"] == "test_resnet.r160_in1k, random weights at first"
    assert known["images"] == "Synthetic, 60 test images, 10 classes"
    assert known["pretrained"] == f"{finished_run.baseline.top1:.2f} % on the test images, 1 epoch of training first"
    assert known["compressed by"] == "2 rounds, 1 epoch before the first clustering, 1 before each other"
    assert known["clustering"] == "Greedy, start=1.0, inc=2.0"
    assert known["tolerance"] == "SigmaTolerance"
    assert known["codebook"].startswith("AdditivePow2, b=7")
    assert known["fixed after each round"] == "60 %, 100 %"
    assert "finish" not in known
    size = (finished_run.folder / "model.pwfn").stat().st_size
    assert f"{size / 1e6:.3f} MB in model.pwfn" in known["size"]
    assert all(known.values())


def test_runs_without_training_and_their_budgets_are_called_so(run: Run) -> None:
    at_once = {"schedule__fractions": [1.0], "schedule__first_epochs": 0, "schedule__rest_epochs": 0}
    assert way_of(changed(run, **at_once)) == "no training"
    assert way_of(changed(run, **at_once, budget__bits=1.5)) == "no training, at most 1.5 file bits"
    assert way_of(changed(run, schedule__fractions=[1.0])) == "1 round"
    assert way_of(replace(run, config={})) == ""
    second = changed(run)
    del second.config["clustering.start"]
    assert "tolerance" not in dict(facts(second))  # it has no use for them
    assert facts(replace(run, config={})) == []


def test_of_different_images_or_of_one_class_no_run_is_the_best(run: Run) -> None:
    def best(*runs: Run) -> str | None:
        rows = [Row(one, one.status, difference_cells(one, []), figure_cells(one)) for one in runs]
        found = _best(rows)
        return found.run.name if found else None

    last = {**run.rounds[-1], "clustered/top1": 50.0, "clustered/val_top1": 60.0}
    run = replace(run, rounds=[*run.rounds[:-1], last])
    low = replace(run, name="low", rounds=[*run.rounds[:-1], last | {"clustered/val_top1": 59.0}])
    assert best(low, run) == "a name"
    tested_alone = replace(low, rounds=[{**low.rounds[-1], "clustered/val_top1": None}])
    assert best(tested_alone, run) == "low"  # equal on the test images, which both have
    assert best(low, replace(run, facts={})) == "a name"  # of an earlier version
    assert best(low, replace(run, facts={**run.facts, "test_images": 61})) is None
    assert best(low, changed(run, classes=1)) == "low"
    assert best(low, changed(run, data___target_="pwfn.data.Digits")) is None
    assert best(changed(run, classes=1)) is None


def test_the_files_of_a_run_are_linked_from_the_page(finished_run: Finished, tmp_path: Path) -> None:
    folder = copy_run(finished_run.folder, tmp_path / "runs" / "a #1 %", config={"name": "x"})
    links = dict(files(read_run(folder, "x"), tmp_path))
    assert set(links) == {name for name in FILES if (folder / name).exists()}
    assert len(links) > 4
    for name, address in links.items():
        assert unquote(address) == f"runs/a #1 %/{name}"
        assert not set(address) & set("# ?")
    write_report([tmp_path / "runs"], tmp_path / REPORT)
    page = Page(tmp_path / REPORT)
    assert dict(page.details[0]["files"]) == links
    assert dict(page.details[0]["facts"])["images"] == "Synthetic, 60 test images, 10 classes"
    assert "test_resnet.r160_in1k on Synthetic (60 test images)." in " ".join("".join(page.texts).split())


def test_the_number_of_images_and_classes_is_recorded(finished_run: Finished) -> None:
    recorded = json.loads((finished_run.folder / "summary.json").read_text())["run"]
    assert (recorded["test_images"], recorded["classes"]) == (60, 10)
