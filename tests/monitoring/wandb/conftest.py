"""A server that is W&B's in all that a run can see, and runs that log to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from pwfn.config import build
from pwfn.run.settings import TrainSettings
from pwfn.run.start import run
from tests.support.loggers.wandb_api import WandbServer
from tests.support.loggers.wandb_online import ONLINE, Start
from tests.support.loggers.wandb_server import logged_to, wandb_server
from tests.support.project import SMALL, Compose


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WandbServer]:
    """A server that this process logs to."""
    with wandb_server() as made, logged_to(made, tmp_path_factory.mktemp("home")):
        yield made


@pytest.fixture(scope="module")
def start(server: WandbServer, composed: Compose) -> Start:
    """`start(folder, resume=False)`: a small run that logs to the server."""
    del server

    def begin(folder: Path, resume: bool = False) -> None:
        cfg = composed(*SMALL, *ONLINE, "trainer.log_every_n_steps=2", f"logger.save_dir={folder.parent}")
        plain = OmegaConf.to_container(cfg, resolve=True)
        assert isinstance(plain, dict)
        run(build.load(TrainSettings, cfg), plain, folder, name="the name", resume=resume)

    return begin
