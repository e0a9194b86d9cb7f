"""The data module and its loaders. Everything is made in memory or in tmp_path."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor

from pwfn.data import (
    Augment,
    Crop,
    CropFlip,
    Digits,
    ImageData,
    NoAugment,
    Synthetic,
    TimmAugment,
)
from pwfn.data.loading.feed import CACHE_BYTES, Cached, Transformed, feed
from pwfn.data.module import ImageDataModule
from pwfn.errors import InvalidValueError
from tests.support.images.data import CONFIG, TINY, steps_of


def module(spec: ImageData, seed: int = 0) -> ImageDataModule:
    made = ImageDataModule(spec, CONFIG, seed)
    made.setup()
    return made


def rows(loader: Any) -> list[tuple[bytes, int]]:
    """Every (image, label) a loader yields, in order and comparable."""
    return [
        (image.numpy().tobytes(), int(label))
        for images, labels in loader
        for image, label in zip(images, labels, strict=True)
    ]


@pytest.mark.parametrize("augment", [NoAugment(), CropFlip()])
@pytest.mark.parametrize("spec", [TINY, Digits(image_size=16, test_images=50)], ids=["synthetic", "digits"])
def test_keeping_tensors_changes_no_bit(spec: ImageData, augment: Augment) -> None:
    spec = replace(spec, augment=augment)
    steps = steps_of(spec, CONFIG, 1)[0]
    images = spec.load().test
    kept, fresh = feed(images, steps, CACHE_BYTES), feed(images, steps, cache_bytes=0)
    assert isinstance(kept, Cached)
    assert isinstance(fresh, Transformed)
    assert len(kept) == len(fresh)
    order = list(range(len(images)))[::-1]
    tensors, labels = kept.__getitems__(order)
    singles = [fresh[index] for index in order]
    items = [kept[index] for index in order]
    assert torch.equal(tensors, torch.stack([image for image, _ in singles]))
    assert torch.equal(tensors, torch.stack([image for image, _ in items]))
    assert labels.tolist() == [label for _, label in singles] == [label for _, label in items]


@pytest.mark.parametrize("augment", [CropFlip(), TimmAugment(auto_augment="rand-m9-mstd0.5-inc1", re_prob=0.5)])
def test_augmentation_is_a_function_of_seed_epoch_and_image(augment: Augment) -> None:
    """Neither workers, nor other draws, nor a resumed epoch change it; and it leaves the streams of others alone."""
    spec = replace(TINY, augment=augment, batch_size=8)

    def epoch(number: int, seed: int = 0, **changed: int) -> list[torch.Tensor]:
        loader = module(replace(spec, **changed), seed).train_dataloader()
        loader.sampler.set_epoch(number)
        return [images for images, _ in loader]

    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    once = epoch(1)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before[1:]
    torch.rand(3)
    random.random()
    for again in (epoch(1), epoch(1, num_workers=2)):
        assert all(torch.equal(*pair) for pair in zip(once, again, strict=True))
    data = module(spec)
    data.batches_done = 2  # of epoch 0, as far as a module without a trainer knows
    rest = [images for images, _ in data.train_dataloader()]
    assert all(torch.equal(*pair) for pair in zip(epoch(0)[2:], rest, strict=True))
    image = spec.partition().train.pick(np.array([3]))
    steps = steps_of(spec, CONFIG, 1)[0]
    draws = [feed(image, steps, CACHE_BYTES, seed)[number][0] for seed in (0, 1) for number in range(4)]
    assert len({draw.numpy().tobytes() for draw in draws}) > 4


def test_only_small_sets_with_a_fixed_part_are_kept() -> None:
    images = TINY.load().train
    fixed = steps_of(TINY, CONFIG, 1)[0]
    size = 60 * 16 * 16 * 4
    assert isinstance(feed(images, fixed, cache_bytes=size + 1), Cached)
    assert isinstance(feed(images, fixed, cache_bytes=size), Transformed)
    random = steps_of(replace(TINY, augment=TimmAugment()), CONFIG, 1)[0]
    assert isinstance(feed(images, random, CACHE_BYTES), Transformed)


def test_loaders_yield_every_image_with_the_right_transform() -> None:
    data = module(replace(TINY, val_fraction=0.2, augment=Crop()))
    assert data.partition is not None
    assert data.partition.val is not None
    for loader, images in ((data.val_dataloader(), data.partition.val), (data.test_dataloader(), data.partition.test)):
        expected = [
            (data.eval_steps(image).numpy().tobytes(), label)
            for image, label in map(images.__getitem__, range(len(images)))
        ]
        assert rows(loader) == expected == rows(loader)
    assert sum(len(labels) for _, labels in data.train_dataloader()) == 48
    assert module(TINY).val_dataloader() == []


def test_setup_loads_once(monkeypatch: pytest.MonkeyPatch) -> None:
    data = module(TINY)
    first = data.partition, rows(data.test_dataloader())
    monkeypatch.setattr(Synthetic, "load", lambda _: pytest.fail("loaded again"))
    for stage in ("fit", "test", None):
        data.setup(stage)
    assert data.partition is first[0]
    assert rows(data.test_dataloader()) == first[1]


@pytest.mark.parametrize("augment", [NoAugment(), TimmAugment()])
def test_training_order_depends_on_seed_and_epoch_not_on_workers(augment: Augment) -> None:
    def labels(seed: int, workers: int, epoch: int) -> list[int]:
        loader = module(replace(TINY, augment=augment, num_workers=workers), seed).train_dataloader()
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        return [int(label) for _, batch in loader for label in batch]

    assert labels(1, 0, 1) == labels(1, 2, 1)
    assert labels(1, 0, 1) != labels(1, 0, 2)
    assert labels(1, 0, 1) != labels(2, 0, 1)


def test_loaders_leave_the_global_stream_alone() -> None:
    data = module(replace(TINY, val_fraction=0.2))
    torch.manual_seed(9)
    expected = torch.rand(1)
    torch.manual_seed(9)
    for loader in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader()):
        rows(loader)
    assert torch.equal(torch.rand(1), expected)


def test_train_share_may_be_set_between_fits() -> None:
    data = module(TINY)
    whole = rows(data.train_dataloader())
    data.train_share = 0.31
    assert rows(data.train_dataloader()) == whole[:19]
    data.train_share = 0.0
    with pytest.raises(InvalidValueError, match=r"train_share = 0.0: must be a number above 0 to 1"):
        data.train_dataloader()
    with pytest.raises(InvalidValueError, match="seed = -1: must be an integer from 0"):
        ImageDataModule(TINY, CONFIG, -1)


@pytest.mark.parametrize(("images", "batches"), [(33, [16, 16]), (34, [16, 16, 2]), (32, [16, 16]), (1, [1])])
def test_a_last_batch_of_one_image_is_left_out_of_training(images: int, batches: list[int]) -> None:
    data = module(replace(TINY, train_images=images, test_size=17))
    assert [len(labels) for _, labels in data.train_dataloader()] == batches
    assert [len(labels) for _, labels in data.test_dataloader()] == [8, 8, 1]


def test_ranks_see_every_image(monkeypatch: pytest.MonkeyPatch) -> None:
    data = module(replace(TINY, train_images=51, val_fraction=0.2))
    seen: dict[str, list[Any]] = {"train": [], "val": [], "test": []}
    lengths: dict[str, list[int]] = {"train": [], "val": [], "test": []}
    for rank in range(2):
        monkeypatch.setattr("pwfn.data.module.rank_and_world_size", lambda rank=rank: (rank, 2))
        loaders = {"train": data.train_dataloader(), "val": data.val_dataloader(), "test": data.test_dataloader()}
        for name, loader in loaders.items():
            found = rows(loader)
            seen[name] += found
            lengths[name].append(len(found))
    assert lengths == {"train": [21, 21], "val": [5, 5], "test": [12, 11]}
    assert data.partition is not None
    for name, images in data.partition._asdict().items():
        assert len(set(seen[name])) == len(images)


class Watcher(pl.LightningModule):
    """Trains one number and notes the first labels of every epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.first: list[tuple[int, ...]] = []
        self.batches = 0

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        self.batches += 1
        if index == 0:
            self.first.append(tuple(batch[1].tolist()))
        return self.weight * batch[0].mean()

    def test_step(self, batch: tuple[Tensor, Tensor], index: int) -> None: ...

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def trainer(epochs: int) -> pl.Trainer:
    return pl.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        use_distributed_sampler=False,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("workers", "augment"), [(0, NoAugment()), (1, Crop())])
def test_lightning_changes_the_order_every_epoch_and_a_resumed_fit_continues_it(
    tmp_path: Path, workers: int, augment: Augment
) -> None:
    spec = replace(TINY, num_workers=workers, augment=augment, train_images=48)
    data, watcher, fits = ImageDataModule(spec, CONFIG, 2), Watcher(), trainer(2)
    data.train_share = 0.5
    fits.fit(watcher, data)
    assert watcher.batches == 2 * 2
    fits.test(watcher, data, verbose=False)
    data.train_share = 1.0
    fits.save_checkpoint(tmp_path / "two.ckpt")
    fits.fit_loop.max_epochs = 4
    fits.fit(watcher, data)
    assert watcher.batches == 2 * 2 + 2 * 3
    assert len(set(watcher.first)) == 4

    resumed = Watcher()
    trainer(4).fit(resumed, ImageDataModule(spec, CONFIG, 2), ckpt_path=tmp_path / "two.ckpt")
    assert resumed.first == watcher.first[2:]
