"""report.html: every run is on it, its text stays text, and it asks for nothing from outside."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pytest

from pwfn import report
from pwfn.report import REPORT
from pwfn.report.collect import read_run
from pwfn.report.compare import FIGURES
from pwfn.report.figures import COLORS, SHAPES
from pwfn.report.page import SCRIPTS, write_report
from pwfn.run.start import Finished
from tests.support.runs.report_runs import EVIL, Page, copy_run


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
