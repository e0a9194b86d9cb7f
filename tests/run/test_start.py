"""A whole run from outside: what it refuses before anything is loaded, what it counts, and a disk that is full."""

from __future__ import annotations

import errno
import json
import os
import signal
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf
from torch.utils.data import get_worker_info

from pwfn.checkpoint import files
from pwfn.checkpoint.saved_run import FolderInUse, is_finished
from pwfn.config import build
from pwfn.data.loading.feed import Cached
from pwfn.data.module import ImageDataModule
from pwfn.errors import RunError, Stopped
from pwfn.models.timm_model import ModelSpec
from pwfn.records import failure
from pwfn.records.rounds import read_records
from pwfn.run.settings import TrainSettings
from pwfn.run.start import Finished, run
from pwfn.training.module import BayesianClassifier
from tests.support.full_disk import files_of_at_most, full_for
from tests.support.project import SMALL, Compose
from tests.support.runs.killed_runs import differences

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
@pytest.mark.parametrize("name", ["network.safetensors", "rounds.json", "weights.png", "model.pwfn", "new.ckpt"])
def test_a_file_that_is_cut_short_leaves_the_older_ones_whole_and_no_debris(
    start: Start, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The system itself refuses the write, whichever library makes it, in the second round where there is one."""
    touch, limited, seen = Path.touch, ExitStack(), []

    def without_room(self: Path, *args: Any, **options: Any) -> None:
        touch(self, *args, **options)
        if self.name == f".{name}.unfinished":
            seen.append(whole_files(tmp_path))
            if len(seen) == 2 or name.startswith(("weights", "model")):
                limited.enter_context(files_of_at_most(1000))

    with monkeypatch.context() as patch, limited:
        patch.setattr(Path, "touch", without_room)
        patch.setattr(failure, "write", lambda *_: None)
        with pytest.raises(RunError) as caught:
            start(tmp_path)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)
    assert not list(tmp_path.rglob("*.unfinished*"))
    assert whole_files(tmp_path) == seen[-1]
    assert not is_finished(tmp_path)
    start(tmp_path, resume=True)
    assert differences(undisturbed, tmp_path) == []


def whole_files(folder: Path) -> dict[str, bytes]:
    found = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")]
    return {str(path): path.read_bytes() for path in found}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "advice"),
    [(errno.EDQUOT, "make room there"), (errno.EROFS, "make it writable"), (errno.EACCES, "make it")],
)
def test_a_quota_and_a_folder_that_has_become_read_only(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, advice: str
) -> None:
    monkeypatch.setattr(Path, "replace", full_for("rounds.csv", number))
    with pytest.raises(RunError) as caught:
        start(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path} cannot be written to ({os.strerror(number)}): {advice}")


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


@pytest.mark.slow
def test_a_killed_process_of_the_loader_is_one_line_and_the_run_goes_on(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ("data/augment=crop_flip", "data.num_workers=1")
    loader = ImageDataModule._loader
    images = Cached.__getitems__

    def forked(*args: Any, **given: Any) -> Any:  # whatever Python's default is, so that the process is patched as well
        made = loader(*args, **given)
        if made.num_workers:
            made.multiprocessing_context = "fork"
        return made

    def dies_in_the_second_epoch(self: Cached, numbers: list[int]) -> Any:
        if get_worker_info() is not None and numbers[0] // len(self) == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return images(self, numbers)

    with monkeypatch.context() as patch:
        patch.setattr(ImageDataModule, "_loader", forked)
        patch.setattr(Cached, "__getitems__", dies_in_the_second_epoch)
        with pytest.raises(RunError) as caught:
            start(tmp_path / "run", *options)
    said = str(caught.value)
    assert "a process of the loader was killed" in said
    assert "data.num_workers" in said
    assert said.endswith(f"; then go on with: python train.py resume={tmp_path / 'run'}")
    assert "\n" not in said
    start(tmp_path / "run", *options, "data.num_workers=0", resume=True)
    start(tmp_path / "whole", *options)
    assert differences(tmp_path / "whole", tmp_path / "run") == []


@pytest.mark.slow
def test_a_signal_to_all_processes_of_a_run_is_no_fault_of_the_loader(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scheduler ends the loader's processes as well, and the run may want another image before it can be saved."""

    def ended(*_: Any) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        raise RuntimeError("DataLoader worker (pid(s) 12) exited unexpectedly")

    monkeypatch.setattr(BayesianClassifier, "training_step", ended)
    with pytest.raises(Stopped) as stopped:
        start(tmp_path)
    assert (stopped.value.exit_code, stopped.value.saved, stopped.value.preempted) == (143, False, True)


def scores(folder: Path) -> list[tuple[object, object]]:
    return [(record.trained, record.clustered) for record in read_records(folder)]
