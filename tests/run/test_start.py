"""A whole run from outside: what it refuses before anything is loaded, what it counts, and a disk that is full."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from pwfn.checkpoint import files
from pwfn.checkpoint.saved_run import FolderInUse, is_finished
from pwfn.config import build
from pwfn.errors import RunError
from pwfn.models.timm_model import ModelSpec
from pwfn.records.rounds import read_records
from pwfn.run.settings import TrainSettings
from pwfn.run.start import Finished, run
from tests.support.project import SMALL, Compose

Start = Callable[..., Finished]


@pytest.fixture(scope="module")
def start(composed: Compose) -> Start:
    def begin(folder: Path, *overrides: str, resume: bool = False) -> Finished:
        cfg = composed(*SMALL, *overrides)
        settings = build.load(TrainSettings, cfg)
        return run(settings, OmegaConf.to_container(cfg, resolve=True), folder, name="test", resume=resume)

    return begin


def test_a_used_folder_is_refused_before_weights_are_loaded(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[object] = []
    monkeypatch.setattr(ModelSpec, "build", lambda *args, **_: built.append(args))
    (tmp_path / "rounds.json").write_text("[]")
    with pytest.raises(FolderInUse):
        start(tmp_path)
    assert built == []
    assert [path.name for path in tmp_path.iterdir()] == ["rounds.json"]


@pytest.mark.slow
def test_processes_are_those_of_the_trainer(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "7")  # left by a launcher that this run has nothing to do with
    start(tmp_path)
    assert json.loads((tmp_path / "summary.json").read_text())["run"]["processes"] == 1


@pytest.fixture(scope="module")
def undisturbed(start: Start, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    start(folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["rounds.csv", "rounds.png", "layers.csv", "model.pwfn", "summary.json", "result.json"]
)
def test_a_full_disk_is_one_line_and_the_run_goes_on_where_there_is_room_again(
    start: Start, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full_for(name))
        with pytest.raises(RunError) as caught:
            start(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path} cannot be written to ({os.strerror(errno.ENOSPC)}): make room there, then go on with: "
        f"python train.py resume={tmp_path}"
    )
    assert not (tmp_path / name).exists()
    assert not list(tmp_path.rglob("*.unfinished*"))
    assert files.files(tmp_path)
    assert not is_finished(tmp_path)
    start(tmp_path, resume=True)
    assert is_finished(tmp_path)
    assert scores(tmp_path) == scores(undisturbed)
    for file in ("network.safetensors", "layers.csv", "weights.json"):
        assert (tmp_path / file).read_bytes() == (undisturbed / file).read_bytes()


@pytest.mark.slow
def test_a_full_disk_costs_a_finished_run_its_report_alone(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Path, "replace", full_for("report.html"))
    start(tmp_path, "report=true")
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "report.html" in line]
    assert line.startswith("warning: no report.html")
    assert os.strerror(errno.ENOSPC) in line
    assert not list(tmp_path.rglob("*.unfinished*"))
    assert is_finished(tmp_path)


def full_for(name: str) -> Callable[[Path, Any], Path]:
    """Make `Path.replace` fail for the file of that name as on a full disk."""
    replace = Path.replace

    def fails(self: Path, target: Any) -> Path:
        if Path(target).name == name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))
        return replace(self, target)

    return fails


def scores(folder: Path) -> list[tuple[object, object]]:
    return [(record.trained, record.clustered) for record in read_records(folder)]
