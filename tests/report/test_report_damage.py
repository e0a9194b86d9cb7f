"""A report of folders in which files are missing, damaged or without sense."""

from __future__ import annotations

from pathlib import Path

import pytest

from pwfn.report import REPORT
from pwfn.report.collect import read_run
from pwfn.report.compare import figures
from pwfn.report.details import as_json, details
from pwfn.report.page import write_report
from pwfn.run.start import Finished
from tests.support.runs.report_runs import Page, copy_run


@pytest.mark.parametrize("content", ["", "{", "[]", "null", "\0\xff", '{"run": 3, "pretrained": []}', "a: [1", "x\ny"])
@pytest.mark.parametrize("name", ["config.yaml", "rounds.json", "summary.json", "weights.json"])
def test_a_damaged_file_costs_only_what_it_held(
    finished_run: Finished, tmp_path: Path, name: str, content: str
) -> None:
    folder = copy_run(finished_run.folder, tmp_path / "run")
    (folder / name).write_bytes(content.encode("latin1"))
    run = read_run(folder, "run")
    assert run.status == "finished"
    assert len(run.clusters) > 10
    assert all(line.startswith(name) and "\n" not in line for line in run.problems)
    as_json(details(run))
    if name == "rounds.json":
        found = figures(run)  # the last ones are in result.json as well
        assert run.rounds == []
        assert found["codebook_size"] is None
        assert found["file_mb"] is not None
        assert found["top1"] == finished_run.records[-1].clustered.top1
    if name == "weights.json":
        assert run.histogram is None


@pytest.mark.parametrize("name", ["clusters.csv", "layers.csv"])
def test_a_damaged_table_too(finished_run: Finished, tmp_path: Path, name: str) -> None:
    folder = copy_run(finished_run.folder, tmp_path / "run")
    lines = (folder / name).read_text().splitlines()
    (folder / name).write_text("\n".join([*lines[:-1], lines[-1][:5]]))  # cut in the last line
    run = read_run(folder, "run")
    assert len(run.clusters) > 10
    assert len(run.layers) > 10
    assert run.problems == []
    (folder / name).write_bytes(b'"\xff\xfe')
    (line,) = read_run(folder, "run").problems
    assert line.startswith(f"{name} cannot be read: ")
    (folder / name).write_text("other,columns\n1,2\n")
    assert "no figures" in read_run(folder, "run").problems[0]


def test_numbers_that_are_none_are_missing(finished_run: Finished, tmp_path: Path) -> None:
    last = {"clustered/top1": float("nan"), "entropy_bits": float("inf"), "codebook_size": None, "moved": "text"}
    folder = copy_run(finished_run.folder, tmp_path / "run", last=last)
    (folder / "weights.json").write_text('{"before": [NaN], "values": [1], "counts": [1], "width": 1, "reach": 2}')
    run = read_run(folder, "run")
    found = figures(run)
    assert found["top1"] is found["entropy_bits"] is found["codebook_size"] is found["change"] is None
    assert run.histogram is None
    write_report([tmp_path], tmp_path / REPORT)
    assert "NaN" not in Page(tmp_path / REPORT).data


def test_values_of_configs_that_are_no_numbers_cost_no_report(finished_run: Finished, tmp_path: Path) -> None:
    for name, value in (("one", ".inf"), ("two", "0.5"), ("three", "1" + 400 * "0")):
        folder = copy_run(finished_run.folder, tmp_path / name)
        config = (folder / "config.yaml").read_text()
        (folder / "config.yaml").write_text(config + f"more: {value}\n")
    assert write_report([tmp_path], tmp_path / REPORT) == 3
    assert "more" in Page(tmp_path / REPORT).data


def test_a_folder_with_nothing_but_hydras_own_is_a_run(tmp_path: Path) -> None:
    (tmp_path / "job/.hydra").mkdir(parents=True)
    (tmp_path / "job/.hydra/config.yaml").write_text("seed: 3\nschedule:\n  fractions: [0.5, 1.0]\n")
    (tmp_path / "job/.hydra/overrides.yaml").write_text("- seed=3\n- name=two words\n")
    (tmp_path / "job/failure.json").write_text('{"reason": "the images are not there"}')
    write_report([tmp_path], tmp_path / REPORT)
    page = Page(tmp_path / REPORT)
    assert page.rows[1][0] == "job"
    assert page.rows[1][-1] == "failed 0/2"
    assert "the images are not there" in "".join(page.texts)
    assert dict(page.details[0]["repeat"])["command"] == "python train.py seed=3 'name=two words'"
    (tmp_path / "job/failure.json").write_text('{"reason": "stopped by Ctrl-C"}')
    assert read_run(tmp_path / "job", "job").status == "unfinished"
