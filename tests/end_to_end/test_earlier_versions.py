"""What version 0.1 left on disk still works: evaluated, reported on, loaded, and gone on with, to the same figures.

`tests/recorded/version_0_1` was written by commit 2d254a6: a finished run, a run killed within an epoch of its third
round, and a sweep killed while its second job trained. `unfinished_expected_rounds.json` is of that run without a kill.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import pwfn
from tests.support.project import RECORDED

VERSION_0_1 = RECORDED / "version_0_1"
TIMES = ("train_seconds", "cluster_seconds")

pytestmark = pytest.mark.slow


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    shutil.copytree(VERSION_0_1, tmp_path / "recorded")
    return tmp_path / "recorded"


def rounds(path: Path) -> list[dict[str, Any]]:
    """The records without their times."""
    return [{key: value for key, value in row.items() if key not in TIMES} for row in json.loads(path.read_text())]


def figures(path: Path) -> Any:
    """All of an evaluation but when, where and by which versions it was made."""
    content = json.loads(path.read_text())
    return {key: value for key, value in content.items() if key in ("images", "rows", "changes", "recorded")}


def test_a_finished_run_is_evaluated_to_the_same_figures(recorded: Path, program: Any) -> None:
    expected = figures(recorded / "finished" / "evaluation" / "evaluation.json")
    assert expected
    shutil.rmtree(recorded / "finished" / "evaluation")
    done = program(recorded, "evaluate.py", "run=finished", "quiet=true", "frontier=false")
    assert done.returncode == 0, done.stderr
    assert figures(recorded / "finished" / "evaluation" / "evaluation.json") == close_to(expected)


def close_to(value: Any) -> Any:
    """The same nested value, with its floats compared to rounding."""
    if isinstance(value, dict):
        return {key: close_to(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [close_to(inner) for inner in value]
    return pytest.approx(value, rel=1e-4, abs=1e-5) if isinstance(value, float) else value


def test_finished_and_unfinished_runs_are_reported_on(recorded: Path, program: Any) -> None:
    done = program(recorded, "evaluate.py", "report=.")
    assert done.returncode == 0, done.stderr
    assert "28.33" in (recorded / "report.html").read_text()


def test_an_artifact_loads_to_the_weights_of_its_run(recorded: Path) -> None:
    network = pwfn.load(recorded / "finished" / "model.pwfn")
    saved = load_file(recorded / "finished" / "network.safetensors")
    weights = dict(network.named_parameters())
    compared = 0
    for name, mean in saved.items():
        if name.endswith(".original"):
            plain = name.replace("parametrizations.", "").removesuffix(".original")
            assert torch.equal(weights[plain], mean), plain
            compared += mean.numel()
    assert compared == 5454


def test_an_artifact_is_measured_to_the_same_score(recorded: Path, program: Any) -> None:
    images = ["data=synthetic", "data.noise=0.6", "data.train_size=320", "data.test_size=60"]
    done = program(recorded, "evaluate.py", "artifact=finished/model.pwfn", "output=out", "samples=0", *images)
    assert done.returncode == 0, done.stderr
    assert "28.33" in done.stdout


def test_an_unfinished_run_goes_on_to_the_figures_it_would_have_had(recorded: Path, program: Any) -> None:
    done = program(recorded, "train.py", "resume=unfinished")
    assert done.returncode == 0, done.stderr
    expected = rounds(recorded / "unfinished_expected_rounds.json")
    found = rounds(recorded / "unfinished" / "rounds.json")
    later = {"clustered/val_top1", "clustered/val_top5", "clustered/val_loss"}  # columns that 0.1 did not have
    assert later <= found[0].keys() - expected[0].keys()
    assert [{key: row[key] for key in expected[0]} for row in found] == close_to(expected)


def test_an_unfinished_sweep_goes_on(recorded: Path, program: Any) -> None:
    first = (recorded / "sweep" / "0_seed-0" / "rounds.json").stat().st_mtime_ns
    done = program(recorded, "train.py", "-m", "resume_sweep=sweep")
    assert done.returncode == 0, done.stderr
    jobs = json.loads((recorded / "sweep" / "jobs.json").read_text())
    assert [job["status"] for job in jobs] == ["done"] * 3
    assert (recorded / "sweep" / "0_seed-0" / "rounds.json").stat().st_mtime_ns == first
