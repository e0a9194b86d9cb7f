"""`resume=auto`: the same command again goes on with the run in its folder, and nobody else writes there meanwhile."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig, OmegaConf

from pwfn.checkpoint import files, saved_config
from pwfn.cli import again
from pwfn.config import build
from pwfn.records import failure
from pwfn.records.files import CHECKPOINTS
from pwfn.run.settings import TrainSettings
from pwfn.run.start import Finished
from tests.support.project import PROJECT, SMALL, Compose, clean_environment
from tests.support.runs import killed_runs

LONG = ["checkpoint.every_steps=1", "schedule.rest_epochs=30"]  # enough to be killed within
ON_A_TERMINAL = """
import fcntl, os, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # closing it sends SIGHUP
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


def until_saved(process: subprocess.Popen[bytes], folder: Path) -> None:
    while process.poll() is None and len(files.files(folder)) < 2:
        time.sleep(0.01)
    assert process.poll() is None, "it ended before it could be stopped"


@pytest.mark.slow
def test_a_killed_run_goes_on_by_the_same_command(small_run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("OMP_NUM_THREADS", str(torch.get_num_threads()))  # as here, or sums are rounded differently
    folder, command = tmp_path / "run", [*SMALL, *LONG, "resume=auto"]
    process = killed_runs.start(folder, command)  # the folder is not there: it starts anew
    until_saved(process, folder)
    before = {path: path.read_bytes() for path in (folder / ".hydra").iterdir()}
    process.send_signal(signal.SIGSTOP)  # or it might have ended by then
    other = killed_runs.start(folder, [*command, "seed=7"])
    assert other.wait() == 1
    assert f"{folder} is written by process {process.pid} on " in (tmp_path / "run.log").read_text()
    assert {path: path.read_bytes() for path in (folder / ".hydra").iterdir()} == before
    assert failure.read(folder) is None
    assert killed_runs.kill(process)
    killed_runs.finished(killed_runs.start(folder, command), folder)
    small_run(tmp_path / "whole", *LONG)
    assert killed_runs.differences(tmp_path / "whole", folder) == []
    assert not (folder / CHECKPOINTS).exists()


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs a terminal")
def test_a_run_whose_terminal_has_gone_saves_and_ends(tmp_path: Path) -> None:
    main, terminal = os.openpty()
    command = [
        str(PROJECT / "train.py"),
        *SMALL,
        *LONG,
        "schedule.rest_epochs=999",
        f"hydra.run.dir={tmp_path / 'run'}",
    ]
    process = subprocess.Popen(
        [sys.executable, "-c", ON_A_TERMINAL, *command],
        stdin=terminal, stdout=terminal, stderr=terminal, env=clean_environment(),
    )  # fmt: skip
    os.close(terminal)
    os.set_blocking(main, False)
    while len(files.files(tmp_path / "run")) < 2:
        assert process.poll() is None
        try:
            os.read(main, 1 << 16)  # what is printed must not wait for a reader
        except BlockingIOError:
            time.sleep(0.01)
    os.close(main)
    assert process.wait() == 128 + signal.SIGHUP
    assert failure.read(tmp_path / "run") == "stopped by SIGHUP"
    assert files.newest(tmp_path / "run") is not None


@pytest.fixture
def asked(composed: Compose) -> DictConfig:
    return composed(*SMALL, "artifact.every_round=true", "artifact.sigma=true", "resume=auto")


def settings(cfg: DictConfig) -> TrainSettings:
    return build.load(TrainSettings, cfg)


def test_a_finished_run_says_so_and_returns_its_figure(
    asked: DictConfig, finished_run: Finished, capsys: pytest.CaptureFixture[str]
) -> None:
    assert again.is_wanted(settings(asked), finished_run.folder)
    assert again.go_on(asked, finished_run.folder) == finished_run.records[-1].judged.top1
    assert "is finished, there is nothing to resume" in capsys.readouterr().out


def test_another_configuration_is_refused_with_its_key(
    asked: DictConfig, finished_run: Finished, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(finished_run.folder, tmp_path / "run")
    asked.seed = 3
    with pytest.raises(SystemExit) as stopped:
        again.go_on(asked, folder)
    assert stopped.value.code == 2
    assert "seed = 3: must be 0, as in the run that is resumed" in capsys.readouterr().err


def test_what_has_not_begun_starts_anew(asked: DictConfig, tmp_path: Path) -> None:
    assert not again.is_wanted(settings(asked), tmp_path / "none")
    saved_config.write_config(tmp_path, OmegaConf.to_container(asked, resolve=True))  # as an inspection does
    assert not again.is_wanted(settings(asked), tmp_path)
    (tmp_path / CHECKPOINTS).mkdir()
    assert again.is_wanted(settings(asked), tmp_path)
    asked.dry_run = True
    assert not again.is_wanted(settings(asked), tmp_path)


def test_a_single_run_has_to_name_its_folder(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        again.refuse_without_folder(["resume=auto", "seed=1"])
    assert stopped.value.code == 2
    assert "resume = 'auto': must be with hydra.run.dir=<folder>" in capsys.readouterr().err
    again.refuse_without_folder(["resume=auto", "hydra.run.dir=x"])
    again.refuse_without_folder(["resume=auto", "-m", "seed=0,1"])
    again.refuse_without_folder(["seed=1"])
