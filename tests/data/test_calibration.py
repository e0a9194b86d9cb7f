"""Images for statistics: training images as they are tested, the same ones each time, dealt out to the ranks."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from pwfn.data import CropFlip, Digits
from pwfn.data.module import ImageDataModule
from tests.support.images.data import CONFIG

DIGITS = Digits(augment=CropFlip(), train_images=200, image_size=32)


def module(spec: Digits = DIGITS, seed: int = 3) -> ImageDataModule:
    return ImageDataModule(spec, CONFIG, seed)


def sums(images: Tensor) -> list[float]:
    return sorted(images.double().sum((1, 2, 3)).tolist())


def test_they_are_training_images_without_augmentation() -> None:
    found = module().calibration_images(50)
    everything = module(replace(DIGITS, augment=type(DIGITS.augment)()))
    everything.setup()
    as_tested = torch.stack([everything.eval_steps(image) for image, _ in everything.partition.train])  # type: ignore[union-attr]
    assert found.shape == (50, *as_tested.shape[1:])
    assert len({tuple(image.flatten().tolist()) for image in found}) > 45  # not one image again and again
    assert all((image == as_tested).flatten(1).all(1).any() for image in found)


def test_the_same_seed_gives_the_same_images() -> None:
    data = module()
    first = data.calibration_images(30)
    next(iter(data.train_dataloader()))
    assert torch.equal(data.calibration_images(30), first)
    assert torch.equal(module().calibration_images(60)[:30], first)
    assert not torch.equal(module(seed=4).calibration_images(30), first)


def test_as_many_as_there_are() -> None:
    assert len(module().calibration_images(10_000)) == 200


def test_ranks_share_them(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = module().calibration_images(31)
    shares = []
    for rank in (0, 1):
        monkeypatch.setattr("pwfn.data.module.rank_and_world_size", lambda rank=rank: (rank, 2))
        shares.append(module().calibration_images(31))
    assert [len(share) for share in shares] == [16, 15]
    assert sums(torch.cat(shares)) == sums(whole)


def test_bytes_are_normalized() -> None:
    assert torch.equal(
        module(replace(DIGITS, normalize_on_device=True)).calibration_images(20), module().calibration_images(20)
    )
