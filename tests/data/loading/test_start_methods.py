"""Loader processes that inherit nothing (spawn on macOS, forkserver from Python 3.14 on) give the same batches."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from pwfn.data import CropFlip, Digits, ImageData, ImageFolder, TimmAugment
from pwfn.data.loading.stream_loader import StreamedEpoch
from pwfn.data.module import ImageDataModule
from pwfn.data.streams import TarStream
from tests.support.images.data import CONFIG, TINY, write_folder
from tests.support.images.streamed import STEPS

SPECS: dict[str, Any] = {
    "in memory": lambda folder: replace(TINY, augment=CropFlip(), batch_size=20),
    "files": lambda folder: ImageFolder(
        root=str(folder), augment=TimmAugment(auto_augment="rand-m9-mstd0.5-inc1", re_prob=0.5), batch_size=2
    ),
}


def made(name: str, folder: Path, workers: int) -> ImageData:
    if name == "files" and not (folder / "train").exists():
        write_folder(folder)
    spec: ImageData = SPECS[name](folder)
    return replace(spec, num_workers=workers)


def batches(spec: ImageData, method: str | None) -> list[torch.Tensor]:
    """Two epochs of training, and the test images."""
    data = ImageDataModule(spec, CONFIG, 3)
    train, test = data.train_dataloader(), data.test_dataloader()
    for loader in (train, test):
        if method is not None and loader.num_workers:
            loader.multiprocessing_context = method
    found = list(train)
    train.sampler.set_epoch(1)
    return [tensor for batch in [*found, *train, *test] for tensor in batch]


@pytest.mark.slow
@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_the_batches_are_those_of_one_process(name: str, method: str, tmp_path: Path) -> None:
    alone, by_workers = (batches(made(name, tmp_path, workers), method) for workers in (0, 1))
    assert len(alone) == len(by_workers) > 6
    assert all(torch.equal(one, other) for one, other in zip(alone, by_workers, strict=True))


@pytest.mark.parametrize("spec", [Digits(augment=CropFlip()), Digits(augment=TimmAugment())], ids=["crop", "timm"])
def test_what_is_sent_to_a_process_comes_out_the_same(spec: ImageData) -> None:
    source: Any = ImageDataModule(spec, CONFIG, 3).train_dataloader().dataset
    sent = pickle.loads(pickle.dumps(source))
    assert all(torch.equal(one, other) for one, other in zip(source[5][:1], sent[5][:1], strict=True))


def test_a_stream_can_be_sent_to_a_process() -> None:
    stream = TarStream("wds/x train", 3, 14, 4, ["x.tar"], "jpg;png", None)
    epoch = StreamedEpoch(stream, STEPS, 1, 2, count=6, batch_size=2, seed=5)
    epoch.skip(1, 2)
    sent = pickle.loads(pickle.dumps(epoch))
    assert vars(sent) | {"stream": None} == vars(epoch) | {"stream": None}
    assert vars(sent.stream) == vars(stream)
