"""The report: what is collected against the files it came from, and that text stays text."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pwfn import report
from pwfn.cli.evaluate_task import report_on
from pwfn.config.nested import flat
from pwfn.records.weight_histogram import WeightHistogram
from pwfn.report import REPORT, report_at_end
from pwfn.report.collect import find_runs, read_run
from pwfn.report.compare import FIGURES, differences, figures
from pwfn.report.details import as_json, details, repeat
from pwfn.report.figures import COLORS, SHAPES
from pwfn.report.page import SCRIPTS, ReportError, read_runs, short_paths, write_report
from pwfn.run.start import Finished
from tests.support.runs.report_runs import EVIL, Page, copy_run, make_sweep


@pytest.fixture(scope="module")
def sweep(finished_run: Finished, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sweep(finished_run.folder, tmp_path_factory.mktemp("report") / "sweep")


@pytest.fixture(scope="module")
def page(sweep: Path) -> Page:
    assert write_report([sweep], sweep / REPORT) == 7
    return Page(sweep / REPORT)


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


def test_the_table_shows_every_run_with_its_figures(page: Page) -> None:
    heading, *rows = page.rows
    assert heading[:3] == ["run", "seed", "codebook.b"]
    assert heading[-1] == "status"
    assert heading[3:-1] == [one.text for one in FIGURES]
    assert [row[0] for row in rows] == ["0_b=5", EVIL, "2_b=6", "job 3", "4_ended", "job 5", "10_b=6"]
    assert rows[2][1:9] == ["0", "6", "2 rounds", rows[2][4], "98.50", "97.50", rows[2][7], "4.500"]
    assert float(rows[2][4]) + float(rows[2][7].replace("\N{MINUS SIGN}", "-")) == pytest.approx(98.5)
    assert rows[2][11] == "0.300"
    assert [row[-1] for row in rows] == [
        *["finished"] * 3,
        "failed 0/2",
        "unfinished 2/2",
        "failed",
        "finished",
    ]
    assert rows[5][1:-1] == [""] * (len(rows[5]) - 2)
    assert page.shared["values"][2][:3] == [0, 6, "2 rounds"]
    assert page.shared["values"][2][4] == 98.5
    assert page.shared["best"] == 2
    assert [label for _, label in page.shared["groups"]] == ["seed", "codebook.b"]


def test_failed_and_unfinished_runs_say_why(page: Page, sweep: Path) -> None:
    text = " ".join("".join(page.texts).split())
    assert f"job 3, failed 0/2: no {' '.join(EVIL.split())}" in text
    assert "job 5, failed: exit code -9" in text
    assert f"Go on with it: python train.py 'resume={sweep}/4_ended'".replace("'", "") in text.replace("'", "")


def test_text_of_a_run_stays_text_in_markup_and_data(page: Page) -> None:
    assert [tag for tag, _ in page.elements].count("img") == 0
    scripts = [attributes for tag, attributes in page.elements if tag == "script"]
    assert [one.get("id") for one in scripts] == ["data", "plotly", None]
    assert EVIL in page.shared["names"]
    assert not re.search(r"[<>&]|[^\x00-\x7f]", page.data)
    assert all("on" + name not in attributes for _, attributes in page.elements for name in ("error", "click", "load"))


def test_the_page_asks_for_nothing_from_outside(page: Page, sweep: Path) -> None:
    for tag, attributes in page.elements:
        for name in ("src", "href", "action", "data"):
            assert (attributes.get(name) or "#").startswith(("#", "data:")), (tag, attributes)
    (policy,) = [one["content"] for tag, one in page.elements if one.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None
    assert policy.startswith("default-src 'none';")
    assert "http" not in policy
    assert (sweep / REPORT).stat().st_size < 2_500_000


@pytest.mark.usefixtures("page")
def test_every_region_is_named_by_a_heading_of_the_page(sweep: Path) -> None:
    markup = (sweep / REPORT).read_text()
    known = {"aria-describedby", "aria-label", "aria-labelledby", "aria-pressed", "aria-sort"}  # WAI-ARIA 1.2
    assert set(re.findall(r"\b(aria-\w+)=", markup)) <= known
    names = re.findall(r'aria-labelledby="([^"]+)"', markup)
    assert len(names) == 6
    assert all(f'id="{name}"' in markup for name in names)


def test_no_variable_of_the_scripts_hides_one_of_their_functions() -> None:
    assets = Path(report.__file__).parent / "assets"
    text = "\n".join((assets / name).read_text() for name in SCRIPTS)
    functions = re.findall(r"^(?:async )?function (\w+)\(", text, re.MULTILINE)
    assert functions
    parameters = {word for found in re.findall(r"[\[(]([\w, ]+)[\])]+ =>", text) for word in found.split(", ")}
    assert not set(functions) & parameters
    assert not set(functions) & set(re.findall(r"\b(?:const|let) (\w+)", text))


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


def test_names_that_are_no_text_are_written_with_escapes(finished_run: Finished, tmp_path: Path) -> None:
    copy_run(finished_run.folder, tmp_path / os.fsdecode(b"runs/\xffjob"))
    (tmp_path / os.fsdecode(b"runs/\xffjob/failure.json")).write_text('{"reason": "\\ud800"}')
    (tmp_path / os.fsdecode(b"runs/\xffjob/result.json")).unlink()
    write_report([tmp_path / "runs"], tmp_path / REPORT)
    page = Page(tmp_path / REPORT)
    assert page.rows[1][0] == r"\udcffjob"
    assert r"\ud800" in "".join(page.texts)


def test_a_hundred_large_runs_stay_below_6_mb_and_the_best_keep_their_details(
    finished_run: Finished, tmp_path: Path
) -> None:
    real = read_run(finished_run.folder, "x")
    large = [{**real.layers[0], "name": f"features.denseblock{i}.denselayer{i}.conv1.weight"} for i in range(300)]
    values = [{**real.clusters[0], "value": i / 1024, "count": 10_000 + i} for i in range(600)]
    runs = [
        report.page.replace(
            real,
            name=f"run {i}",
            layers=large,
            clusters=values,
            rounds=[*real.rounds * 5, {**real.rounds[-1], "clustered/top1": i / 2}],
        )
        for i in range(100)
    ]
    text = report.page.render(runs, "a hundred")
    (tmp_path / REPORT).write_text(text, encoding="utf-8")
    assert 4e6 < len(text.encode()) < 6e6
    page = Page(tmp_path / REPORT)
    kept = [i for i, one in enumerate(page.details) if one is not None]
    assert len(page.rows) == 101
    assert kept == list(range(kept[0], 100))
    assert 10 < len(kept) < 100


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


def _luminance(color: str) -> float:
    channels = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize(("scheme", "paper"), [("light", "#ffffff"), ("dark", "#14171b")])
def test_every_color_is_seen_on_its_paper_and_has_a_shape_of_its_own(scheme: str, paper: str) -> None:
    style = (Path(report.__file__).parent / "assets/page.css").read_text()
    assert f"--paper: {paper}" in style
    for color in COLORS[scheme]:
        low, high = sorted((_luminance(color), _luminance(paper)))
        assert (high + 0.05) / (low + 0.05) >= 3, color  # WCAG 2.1, 1.4.11
    assert len(set(COLORS[scheme])) == len(COLORS[scheme]) == len(set(SHAPES)) == len(SHAPES)


def test_configs_are_flattened_with_their_lists_whole() -> None:
    assert flat({"a": {"b": [1, {"c": 2}], "d": {}}, 3: None}) == {"a.b": [1, {"c": 2}], "a.d": {}, "3": None}
    assert flat({}) == {}
