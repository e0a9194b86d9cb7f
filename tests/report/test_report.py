"""The report: what is collected against the files it came from, and that text stays text."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from pwfn import report
from pwfn.cli.evaluate_task import report_on
from pwfn.config.nested import flat
from pwfn.records.weight_histogram import WeightHistogram
from pwfn.report import REPORT, report_at_end
from pwfn.report.collect import find_runs, read_run
from pwfn.report.compare import differences, figures
from pwfn.report.details import as_json, details, repeat
from pwfn.report.page import ReportError, read_runs, short_paths, write_report
from pwfn.run.start import Finished
from tests.support.runs.report_runs import copy_run


def test_what_is_collected_of_a_run_is_what_its_files_say(finished_run: Finished) -> None:
    folder = finished_run.folder
    run = read_run(folder, "a name")
    assert (run.name, run.status, run.reason, run.problems) == ("a name", "finished", None, [])
    assert run.rounds == [record.flat() for record in finished_run.records]
    last = finished_run.records[-1]
    with (folder / "clusters.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if int(row["round"]) == last.round]
    expected = sorted((float(row["value"]), int(row["order"]), int(row["count"])) for row in rows if int(row["count"]))
    assert [(row["value"], row["order"], row["count"]) for row in run.clusters] == expected
    with (folder / "layers.csv").open() as file:
        for row, read in zip(csv.DictReader(file), run.layers, strict=True):
            assert {key: str(value) for key, value in read.items()} == row
    size = (folder / "model.pwfn").stat().st_size
    receipt = json.loads((folder / "summary.json").read_text())["run"]["artifact"]
    assert figures(run) == {
        "way": "2 rounds",
        "pretrained": finished_run.baseline.top1,
        "top1": last.clustered.top1,
        "val_top1": last.clustered_val.top1 if last.clustered_val else None,
        "change": last.clustered.top1 - finished_run.baseline.top1,
        "entropy_bits": last.entropy_bits,
        "codebook_size": last.codebook_size,
        "unique_weights": last.unique_weights,
        "file_mb": size / 1e6,
        "file_bits": receipt["file_bits"],
        "norms_mb": receipt["plain"] / 1e6,
        "smaller": receipt["float32"] / size,
        "minutes": json.loads((folder / "summary.json").read_text())["run"]["seconds"] / 60,
    }
    assert run.config["codebook.b"] == 7
    assert run.config["schedule.fractions"] == [0.6, 1.0]


def test_the_details_hold_the_same(finished_run: Finished) -> None:
    run = read_run(finished_run.folder, "a name")
    said = json.loads(as_json(details(run)))
    assert said["rounds"]["clustered/top1"] == [record.clustered.top1 for record in finished_run.records]
    assert said["codebook"]["of"] == len(said["codebook"]["value"]) == finished_run.records[-1].codebook_size
    assert sum(said["codebook"]["count"]) == sum(said["layers"]["weights"]) == said["histogram"]["weights"]
    spread = WeightHistogram(**json.loads((finished_run.folder / "weights.json").read_text()))
    assert {key: said["histogram"][key] for key in spread.as_dict()} == spread.as_dict()
    assert len(said["histogram"]["ticks"]) == len(said["histogram"]["labels"])
    assert said["problems"] == []


def test_runs_are_found_by_their_files_once_and_in_the_order_of_their_numbers(sweep: Path, tmp_path: Path) -> None:
    found, jobs = find_runs([sweep, sweep / "2_b=6", sweep.parent])
    assert [path.name for path in found] == ["0_b=5", "1_b=5", "2_b=6", "3_failed", "4_ended", "5_killed", "10_b=6"]
    assert {path.name for path in jobs} == {"3_failed", "5_killed"}
    wandb = tmp_path / "wandb/run-1/files"  # which has a config.yaml of its own
    wandb.mkdir(parents=True)
    (wandb / "config.yaml").write_text("a: 1")
    assert find_runs([tmp_path]) == ([], {})
    (tmp_path / "job/.hydra").mkdir(parents=True)  # ended before it wrote anything of its own
    (tmp_path / "job/evaluation").mkdir()
    (tmp_path / "job/evaluation/result.json").write_text("{}")
    assert find_runs([tmp_path])[0] == [tmp_path / "job"]


def test_only_what_differs_is_compared_and_what_was_asked_for_comes_first(sweep: Path) -> None:
    folders, jobs = find_runs([sweep])
    runs = read_runs(folders, jobs)
    assert [heading.key for heading in differences(runs)] == ["seed", "codebook.b"]
    runs = [run for run in runs if run.config]
    for run in runs:
        run.facts["overrides"] = ["+codebook.b=5", "seed=0"]
        run.config.update(
            {
                "quiet": run.name,
                "optimizer.lr": 2 if "0" in run.name else 2.0,
                "sigma_join._target_": run.name,
            }
        )
    headings = differences(runs)
    assert [heading.key for heading in headings] == ["codebook.b", "seed", "sigma_join._target_", "quiet"]
    assert [heading.text for heading in headings] == ["codebook.b", "seed", "sigma_join", "quiet"]
    runs[0].facts["overrides"] = runs[1].facts["overrides"] = ["codebook=x"]
    for run in runs[2:]:
        run.facts["overrides"] = []
    assert differences(runs)[0].key == "codebook.b"
    assert differences(runs[:1]) == []


def test_how_to_repeat_a_run(finished_run: Finished) -> None:
    run = read_run(finished_run.folder, "a name")
    run.facts["command"] = (
        "train.py --config-name train -m seed=1 'name=a b' 'hydra.run.dir=x' hydra.mode=RUN hydra.job.num=3"
    )
    run.facts["commit"] = "0123abc-dirty"
    known = dict(repeat(run))
    assert known["command"] == "python train.py -m seed=1 'name=a b'"
    assert known["commit"] == "0123abc (with changes that were not committed)"
    assert known["seed"] == "0"
    assert "torch" in known["versions"]
    assert known["folder"] == str(finished_run.folder)
    run.facts.clear()
    assert dict(repeat(run))["command"] == dict(repeat(run))["commit"] == "not recorded"


def test_runs_of_one_name_are_told_apart(finished_run: Finished, tmp_path: Path) -> None:
    for folder in ("a/0", "b/0"):
        copy_run(finished_run.folder, tmp_path / folder, config={"name": "same"})
    runs = read_runs(*find_runs([tmp_path / "a", tmp_path / "b"]))
    assert [run.name for run in runs] == ["same (a/0)", "same (b/0)"]


def test_paths_are_as_short_as_they_can_be() -> None:
    parts = [("r", "a", "x", "job 1"), ("r", "b", "x", "job 1"), ("r", "a", "x", "job 2"), ("r", "job 1"), ("r", "q")]
    assert short_paths(parts) == ["a/x/job 1", "b/x/job 1", "a/x/job 2", "r/job 1", "r/q"]


def test_one_line_for_what_cannot_be_reported_on(tmp_path: Path, finished_run: Finished) -> None:
    with pytest.raises(ReportError, match="must be a folder that exists"):
        write_report([tmp_path / "missing"], tmp_path / REPORT)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ReportError, match="must hold a run, and none is in or below it"):
        write_report([tmp_path / "empty"], tmp_path / REPORT)
    (tmp_path / "file").write_text("")
    with pytest.raises(ReportError, match="cannot be written"):
        write_report([finished_run.folder], tmp_path / "file" / REPORT)


def test_evaluate_writes_the_report_of_one_or_several_folders(
    sweep: Path, finished_run: Finished, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    report_on((str(sweep), str(finished_run.folder)), None)
    assert capsys.readouterr().out == f"8 runs in {REPORT}\n"
    assert (tmp_path / REPORT).is_file()
    report_on(str(sweep), "there")
    assert capsys.readouterr().out == f"7 runs in there/{REPORT}\n"
    copy = Path(shutil.copytree(finished_run.folder, "copy"))
    report_on(str(copy), None)
    assert capsys.readouterr().out == f"1 run in copy/{REPORT}\n"
    assert (copy / REPORT).is_file()


def test_a_run_ends_well_without_its_report(tmp_path: Path, finished_run: Finished, monkeypatch: Any) -> None:
    said: list[str] = []
    copy = copy_run(finished_run.folder, tmp_path / "run")
    report_at_end(copy, said.append)
    assert said == [f"Report: {copy / REPORT}"]
    assert (copy / REPORT).is_file()

    def broken(*_: Any) -> None:
        raise KeyError("two\nlines")

    monkeypatch.setattr(report.page, "render", broken)
    report_at_end(copy, said.append)
    assert "\n" not in said[1]
    assert said[1].startswith(f"warning: no {REPORT} (KeyError: ")
    assert f"python evaluate.py report={copy}" in said[1]


def test_configs_are_flattened_with_their_lists_whole() -> None:
    assert flat({"a": {"b": [1, {"c": 2}], "d": {}}, 3: None}) == {"a.b": [1, {"c": 2}], "a.d": {}, "3": None}
    assert flat({}) == {}
