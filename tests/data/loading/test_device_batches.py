"""Batches of bytes that are normalized on the device are, bit for bit, the batches that come normalized."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from PIL import Image
from torch import Tensor
from torchvision import transforms
from typing_extensions import override

from pwfn.data import CropFlip, Digits, ImageData, ImageFolder, Mix, NoAugment, Synthetic, TimmAugment
from pwfn.data.loading.device_batches import Normalization
from pwfn.data.module import ImageDataModule
from pwfn.data.spec import Partition
from pwfn.errors import InvalidValueError
from tests.support.images.data import CONFIG, TINY
from tests.support.images.streamed import counting


class Seen(pl.LightningModule):
    """Keeps the images and labels of every step."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))
        self.batches: list[Tensor] = []

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        self._keep(batch)
        return self.weight * batch[0].mean()

    def validation_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:
        self._keep(batch)

    def test_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:
        self._keep(batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def _keep(self, batch: tuple[Tensor, Tensor]) -> None:
        self.batches += [tensor.clone() for tensor in batch]


class Sent(ImageDataModule):
    """Keeps the types of the images that are sent to the device."""

    def __init__(self, spec: ImageData) -> None:
        super().__init__(spec, CONFIG, 3)
        self.types = set[torch.dtype]()

    @override
    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        self.types.add(batch[0].dtype)
        return batch


def photographs(root: Path) -> None:
    """Four colored noisy images of each of two classes."""
    numbers = np.random.default_rng(0)
    for split in ("train", "val"):
        for label in ("cat", "dog"):
            (root / split / label).mkdir(parents=True)
            for index in range(4):
                pixels = numbers.integers(0, 256, (40, 50, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / split / label / f"{index}.png")


def digits(_: Path) -> ImageData:
    return Digits(image_size=16, augment=CropFlip(), train_images=60, test_images=20, val_fraction=0.2)


def folder(root: Path) -> ImageData:
    photographs(root)
    return ImageFolder(
        root=str(root), image_size=24, augment=TimmAugment(auto_augment="rand-m9-mstd0.5-inc1"), batch_size=3
    )


def by_workers(root: Path) -> ImageData:
    photographs(root)
    return ImageFolder(root=str(root), image_size=24, augment=CropFlip(), batch_size=3, num_workers=1)


def mixed(_: Path) -> ImageData:
    return replace(TINY, augment=NoAugment(), mix=Mix(mixup=0.5, cutmix=1.0))


class CountingImages(Synthetic):
    """Streamed images of one gray value each."""

    @override
    def partition(self) -> Partition:
        return Partition(counting(24), None, counting(11))


def streamed(_: Path) -> ImageData:
    return CountingImages(image_size=16, batch_size=4, eval_batch_size=4)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("made", [digits, folder, by_workers, mixed, streamed])
def test_what_the_network_sees_is_the_same_to_the_last_bit(made: Callable[[Path], ImageData], tmp_path: Path) -> None:
    spec = made(tmp_path)
    ends = []
    for on_device in (False, True):
        data, module = Sent(replace(spec, normalize_on_device=on_device)), Seen()
        trainer = pl.Trainer(
            accelerator="cpu",
            max_epochs=2,
            use_distributed_sampler=False,
            num_sanity_val_steps=0,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(module, data)
        trainer.test(module, data, verbose=False)
        assert data.types == {torch.uint8 if on_device else torch.float32}
        loaders = [data.batches_outside_fits(), data.test_dataloader()]  # which no hook of Lightning sees
        ends.append([*module.batches, *(tensor for loader in loaders for batch in loader for tensor in batch)])
    floats, from_bytes = ends
    assert len(floats) == len(from_bytes) > 8
    assert {tensor.dtype for tensor in from_bytes} <= {torch.float32, torch.int64}
    assert all(torch.equal(*pair) for pair in zip(floats, from_bytes, strict=True))


@pytest.mark.parametrize("channels", [1, 3])
def test_every_byte_becomes_what_torchvision_makes_of_it(channels: int) -> None:
    mean, std = CONFIG["mean"][:channels], CONFIG["std"][:channels]
    images = torch.arange(256, dtype=torch.uint8).repeat(2, channels, 1).view(2, channels, 16, 16)
    one = transforms.functional.to_pil_image(images[0])
    expected = transforms.Compose([transforms.ToTensor(), transforms.Normalize(mean, std)])(one)
    normalization = Normalization(mean, std)
    found = normalization(images)
    assert found.dtype == torch.float32
    assert torch.equal(found[0], expected)
    assert torch.equal(found[1], expected)
    assert normalization(found) is found
    last = normalization(images.to(memory_format=torch.channels_last))
    assert torch.equal(last, found)


def test_a_network_is_given_no_bytes_that_would_have_to_be_erased() -> None:
    line = "normalize_on_device = True: must be false with data.augment.re_prob above 0"
    with pytest.raises(InvalidValueError, match=line):
        Digits(normalize_on_device=True, augment=TimmAugment(re_prob=0.1))
    Digits(normalize_on_device=True, augment=TimmAugment())


@pytest.mark.parametrize("value", [0, -1, 1.5, True])
def test_a_loader_needs_a_batch_ahead(value: Any) -> None:
    with pytest.raises(InvalidValueError, match=r"prefetch_factor = .*: must be an integer from 1"):
        Digits(prefetch_factor=value)


@pytest.mark.parametrize("cuda", [False, True])
def test_loaders_get_their_options(cuda: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: cuda)
    spec = replace(TINY, augment=TimmAugment(), num_workers=2)
    loader = ImageDataModule(spec, CONFIG, 0).train_dataloader()
    assert (loader.prefetch_factor, loader.persistent_workers, loader.pin_memory) == (2, True, cuda)
    chosen = replace(spec, prefetch_factor=5, persistent_workers=False, pin_memory=False)
    loader = ImageDataModule(chosen, CONFIG, 0).train_dataloader()
    assert (loader.prefetch_factor, loader.persistent_workers, loader.pin_memory) == (5, False, False)
    loader = ImageDataModule(replace(chosen, num_workers=0), CONFIG, 0).train_dataloader()
    assert (loader.prefetch_factor, loader.num_workers) == (None, 0)
