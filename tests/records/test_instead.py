"""A key that was given a folder or file of another kind names the command that was meant."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pwfn.config import program
from pwfn.records import instead


@pytest.fixture(autouse=True)
def typed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "_subcommand", None)
    monkeypatch.setattr(sys, "argv", ["train.py"])


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/model.pwfn").touch()
    (tmp_path / "run/config.yaml").touch()
    (tmp_path / "run/result.json").touch()
    return tmp_path / "run/model.pwfn"


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    (tmp_path / "sweep/0_seed-0").mkdir(parents=True)
    (tmp_path / "sweep/sweep.json").touch()
    (tmp_path / "sweep/0_seed-0/config.yaml").touch()
    return tmp_path / "sweep"


@pytest.fixture
def stopped(tmp_path: Path) -> Path:
    (tmp_path / "stopped/checkpoints").mkdir(parents=True)
    (tmp_path / "stopped/config.yaml").touch()
    return tmp_path / "stopped"


def test_an_artifact(artifact: Path) -> None:
    assert f"python evaluate.py artifact={artifact} data=" in instead.of_run(artifact)
    assert str(artifact.parent) in instead.of_resume(artifact)


def test_a_sweep(sweep: Path) -> None:
    assert f"python evaluate.py report={sweep} " in instead.of_run(sweep)
    assert f"python evaluate.py report={sweep} " in instead.of_artifact(sweep)
    assert instead.of_resume(sweep) == f"; it is a sweep: python train.py -m resume_sweep={sweep}"
    job = sweep / "0_seed-0"
    assert instead.of_resume_sweep(job) == f"; it is a job of a sweep: python train.py -m resume_sweep={sweep}"


def test_a_stopped_run(stopped: Path) -> None:
    assert instead.of_run(stopped).endswith(f"go on with it first: python train.py resume={stopped}")
    assert instead.of_resume_sweep(stopped) == f"; it is a single run: python train.py resume={stopped}"


def test_a_finished_run(artifact: Path) -> None:
    run = artifact.parent
    meant = instead.of_artifact(run)
    assert f"write artifact={artifact}, or run={run} " in meant
    assert instead.of_resume_sweep(run) == f"; it is a single run, and finished: python evaluate.py run={run}"


@pytest.mark.parametrize("of", [instead.of_run, instead.of_artifact, instead.of_resume, instead.of_resume_sweep])
def test_nothing_is_guessed_of_what_is_not_there(of, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    assert of(tmp_path / "nothing") == ""
    assert of(tmp_path) == ""
