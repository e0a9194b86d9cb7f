"""Fixtures of all tests: composed configurations, small runs in this process, and one real smoke run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import wandb
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from pwfn.config import build, resolvers
from tests.support.project import PROJECT, SMALL, SMOKE, Compose, Program, clean_environment


def pytest_configure() -> None:
    """Let signals end programs that tests start: a shell that runs the suite in the background has some ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


WHOLE_RUNS = {"small_run", "finished_run", "smoke", "program"}  # fixtures that train, or start a program


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as slow what uses a whole run or a program of its own, so that `make test-fast` leaves it out."""
    for item in items:
        if WHOLE_RUNS & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def composed() -> Compose:
    """`composed(*overrides, name="train")`: a configuration of conf/, as the entry points get it."""

    def build(*overrides: str, name: str = "train") -> DictConfig:
        resolvers.register()
        with initialize_config_dir(version_base="1.3", config_dir=str(PROJECT / "conf")):
            return compose(name, list(overrides))

    return build


@pytest.fixture(scope="session")
def small_run(composed: Compose):  # type: ignore[no-untyped-def]
    """`small_run(folder, *overrides)`: a whole run in this process, two rounds on a few images."""
    from pwfn.run.settings import TrainSettings
    from pwfn.run.start import Finished, run

    def start(folder: Path, *overrides: str) -> Finished:
        cfg = composed(*SMALL, *overrides)
        plain = OmegaConf.to_container(cfg, resolve=True)
        return run(build.load(TrainSettings, cfg), plain, folder, name="test")

    return start


@pytest.fixture(scope="session")
def finished_run(small_run, tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    """A finished small run that kept the network of every round and all sigmas. Read only."""
    return small_run(tmp_path_factory.mktemp("finished_run"), "artifact.every_round=true", "artifact.sigma=true")


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Program:
    """`program(folder, "train.py", *overrides)`: an entry point in a process of its own, started in `folder`."""
    staging = str(tmp_path_factory.mktemp("wandb"))

    def start(folder: Path, script: str, *overrides: str) -> subprocess.CompletedProcess[str]:
        quiet = {"WANDB_DATA_DIR": staging, "WANDB_CACHE_DIR": staging, "WANDB_CONFIG_DIR": staging}
        environment = clean_environment(**quiet, COLUMNS="200")
        command = [sys.executable, str(PROJECT / script), *overrides]
        return subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
        )

    return start


@pytest.fixture(scope="session")
def smoke(program: Program, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where `python train.py experiment=smoke` was started: the run is in run/, W&B's files are in logs/. Read only."""
    folder = tmp_path_factory.mktemp("smoke")
    done = program(folder, "train.py", *SMOKE)
    assert done.returncode == 0, done.stderr
    (folder / "console.txt").write_text(done.stdout)
    return folder


@pytest.fixture
def wandb_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """W&B keeps all it keeps in tmp_path, and starts as by default."""
    folders = ("WANDB_DIR", "WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR")
    for name in folders:
        monkeypatch.setenv(name, str(tmp_path))
    for name in list(os.environ):
        if name.startswith("WANDB_") and name not in (*folders, "WANDB_SERVICE"):
            monkeypatch.delenv(name)
    yield
    wandb.finish()
