"""The film of a run: its pictures are those of its records, and a folder without them is refused in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from pwfn.cli import animate
from pwfn.config import program
from pwfn.records.weight_histogram import BINS, WeightHistogram
from pwfn.report import animation
from pwfn.report.animation import BETWEEN, LAST, MOVING, frames_of, write_animation
from pwfn.report.collect import Run

HISTOGRAM = {"weights": 8, "width": 0.1, "reach": 1.0, "before": [0] * BINS, "distinct": 2, "values": [0.0, 0.5]}
HISTOGRAM |= {"counts": [5, 3]}
HISTOGRAM["before"][BINS // 2] = 8
CLUSTERS = "round,value,order,count,mu_std,sigma_mean,sigma_max\n0,0.0,0,4,0,0,0\n1,0.0,0,5,0,0,0\n1,0.5,1,3,0,0,0\n"
ROUNDS = [{"round": index, "fraction": share, "entropy_bits": 1.5} for index, share in enumerate((0.5, 1.0, 1.0))]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two rounds, and a finishing, which clusters nothing."""
    (tmp_path / "weights.json").write_text(json.dumps(HISTOGRAM))
    (tmp_path / "clusters.csv").write_text(CLUSTERS)
    (tmp_path / "rounds.json").write_text(json.dumps(ROUNDS))
    return tmp_path


def test_the_frames_are_those_of_the_records(folder: Path) -> None:
    run = Run(folder, "run", "finished", rounds=ROUNDS, histogram=HISTOGRAM)  # type: ignore[arg-type]
    frames = list(frames_of(run, WeightHistogram(**HISTOGRAM)))
    assert len(frames) == 1 + 2 * BETWEEN
    start, first, last = frames[0], frames[BETWEEN], frames[-1]
    assert (start.free, start.counts) == (1.0, {})
    assert (first.free, first.counts) == (0.5, {0.0: 4.0})
    assert (last.free, last.counts, last.milliseconds) == (0.0, {0.0: 5.0, 0.5: 3.0}, LAST)
    between = frames[BETWEEN + 1]
    assert between.milliseconds == MOVING
    assert between.free == pytest.approx(0.5 * (1 - 1 / BETWEEN))
    assert between.counts == pytest.approx({0.0: 4 + 1 / BETWEEN, 0.5: 3 / BETWEEN})
    assert last.title == "round 2: 100.0 % share 2 values, entropy 1.50 bits"


def test_the_command_writes_a_film(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(animation, "BETWEEN", 2)
    assert animate.main([f"run={folder}", "--out", str(folder / "new/film.gif")]) == 0
    assert capsys.readouterr().out == f"5 pictures in {folder}/new/film.gif\n"
    with Image.open(folder / "new/film.gif") as film:
        assert film.n_frames == 5
        assert film.info["loop"] == 0
        seen = set()
        for number in range(film.n_frames):
            film.seek(number)
            seen.add(film.convert("RGB").tobytes())
        assert len(seen) == 5


def test_other_folders_and_files_are_refused_with_what_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(program, "typed", lambda name: ["pwfn", name])
    for name, file in (("sweep", "sweep.json"), ("stopped", "config.yaml"), ("run", "config.yaml")):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).touch()
    (tmp_path / "stopped/checkpoints").mkdir()
    for artifact in ("run/model.pwfn", "model.pwfn"):
        (tmp_path / artifact).touch()
    refusals = {
        "nowhere": "there is no such folder",
        "sweep": "it is a sweep: pwfn animate run=<one of the folders in it>",
        "stopped": f"it was stopped, go on with it first: pwfn train resume={tmp_path}/stopped",
        "run/model.pwfn": f"it is an artifact, which holds no rounds: {tmp_path}/run may be its run",
        "model.pwfn": "it is an artifact, which holds no rounds: the folder of its run is needed",
    }
    for name, why in refusals.items():
        assert animate.main([f"run={tmp_path / name}"]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        refused = f"pwfn: run = '{tmp_path / name}': must be the folder of a finished run; {why}"
        assert line == f"{refused} (docs/report.md)"


def test_a_film_of_another_kind_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = folder / "film.html"
    assert animate.main([str(folder), "--out", str(target)]) == 2
    assert capsys.readouterr().err.startswith(f"pwfn: --out = '{target}': must end with .gif")
    assert not target.exists()


@pytest.mark.parametrize("gone", ["weights.json", "rounds.json"])
def test_a_folder_without_them_is_one_line(folder: Path, gone: str, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / gone).unlink()
    assert animate.main([str(folder)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"pwfn: run = '{folder}': must be the folder of a finished run")
    assert not (folder / animation.ANIMATION).exists()
    with pytest.raises(RuntimeError):
        write_animation(folder, folder / "film.gif")
