"""The processes that read images, and the signals that are meant for the run."""

from __future__ import annotations

import os
import signal
from dataclasses import replace

import pytest
from PIL import Image
from torch.utils.data import get_worker_info
from typing_extensions import override

from pwfn.data import module
from pwfn.data.images import ArrayImages
from pwfn.data.module import ImageDataModule
from tests.support.images.data import CONFIG, TINY


class Interrupted(ArrayImages):
    """Every image sends its worker what a terminal and a scheduler send to all processes of a run."""

    @override
    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        if get_worker_info() is not None:
            for number in (signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP):
                os.kill(os.getpid(), number)
        return super().__getitem__(index)


def test_workers_go_on_reading(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(module, "CACHE_BYTES", 0)  # or the images would be read by this process
    data = ImageDataModule(replace(TINY, num_workers=2), CONFIG, seed=0)
    data.setup()
    assert data.partition is not None
    for split in ("train", "test"):
        images = getattr(data.partition, split)
        data.partition = data.partition._replace(**{split: Interrupted(images.pixels, images.labels)})
    assert sum(len(labels) for _, labels in data.train_dataloader()) == 60
    assert sum(len(labels) for _, labels in data.test_dataloader()) == 23
    assert capfd.readouterr().err == ""
