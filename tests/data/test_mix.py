"""Mixed batches: what comes out is what the papers say, drawn from seeds alone, and only training sees it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor

from pwfn.data import Mix
from pwfn.data.module import ImageDataModule
from pwfn.errors import InvalidValueError
from tests.support.images.data import CONFIG, TINY

MIXES = [
    Mix(mixup=0.8),
    Mix(cutmix=1.0),
    Mix(mixup=0.8, cutmix=1.0),
    *(Mix(mixup=0.8, cutmix=1.0, mode=m) for m in ("pair", "elem")),
]


def batch(count: int = 8, classes: int = 5) -> tuple[Tensor, Tensor]:
    """Image k is everywhere k + 1, so that what is left of it can be read off."""
    values = torch.arange(1.0, count + 1)
    return values[:, None, None, None].expand(count, 3, 16, 16).clone(), torch.arange(count) % classes


@pytest.mark.parametrize("mix", MIXES, ids=str)
@pytest.mark.parametrize("seed", range(3))
def test_labels_are_shared_as_the_pixels_are(mix: Mix, seed: int) -> None:
    count, classes = 8, 8
    before, labels = batch(count, classes)
    images, shares = mix.mixed(before.clone(), labels, classes, seeds=(seed, 1))
    torch.testing.assert_close(shares.sum(1), torch.ones(count))
    for index in range(count):
        partner = count - 1 - index
        own = shares[index, index]
        torch.testing.assert_close(own + shares[index, partner], torch.tensor(1.0))
        expected = own * before[index].mean() + (1 - own) * before[partner].mean()
        torch.testing.assert_close(images[index].mean(), expected, rtol=1e-5, atol=1e-5)
        pasted = set(images[index].unique().tolist())
        assert len(pasted) == 1 or pasted == {index + 1.0, partner + 1.0}  # added, or a rectangle of the other
    assert torch.equal(images, before) == torch.equal(shares, torch.eye(classes)[labels])  # a rectangle may be empty


def test_prob_and_switch_prob_are_shares_of_the_batches() -> None:
    def kinds(mix: Mix) -> list[str]:
        found = []
        for seed in range(200):
            before, labels = batch(4)
            images, _ = mix.mixed(before.clone(), labels, 5, seeds=(seed,))
            changed = images[0].unique().tolist()
            found.append("none" if changed == [1.0] else "mixup" if len(changed) == 1 else "cutmix")
        return found

    half = kinds(Mix(mixup=1.0, prob=0.5))
    assert 70 < half.count("mixup") < 130
    assert half.count("cutmix") == 0
    both = kinds(Mix(mixup=1.0, cutmix=1.0, switch_prob=0.25))
    assert 120 < both.count("mixup") < 180
    assert 20 < both.count("cutmix") < 80


def test_draws_depend_on_the_seeds_alone_and_leave_numpys_stream_alone() -> None:
    mix = MIXES[2]
    np.random.seed(3)
    expected = np.random.rand()
    results = []
    for seeds in ((1, 2), (1, 2), (2, 1), (1, 3)):
        np.random.seed(3)
        results.append(mix.mixed(*batch(), 5, seeds=seeds))
        assert np.random.rand() == expected
    assert all(torch.equal(one, other) for one, other in zip(results[0], results[1], strict=True))
    assert not torch.equal(results[0][0], results[2][0])
    assert not torch.equal(results[0][0], results[3][0])


@pytest.mark.parametrize("count", [1, 7])
def test_the_last_image_of_an_odd_batch_stays_as_it_is(count: int) -> None:
    before, labels = batch(count)
    images, shares = Mix(mixup=5.0).mixed(before.clone(), labels, 5, seeds=(0,))
    assert torch.equal(images[-1], before[-1])
    assert torch.equal(shares[-1], F.one_hot(labels[-1], 5).float())
    assert (images[:-1] != before[:-1]).any() == (count > 1)


def test_the_loss_takes_shares_and_smooths_them_as_timm_does() -> None:
    from timm.data.mixup import mixup_target

    logits = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(6) % 5
    mine = F.cross_entropy(logits, mixup_target(labels, 5, 0.3, 0.0), label_smoothing=0.1)
    timms = torch.sum(-mixup_target(labels, 5, 0.3, 0.1) * F.log_softmax(logits, dim=-1), dim=-1).mean()
    torch.testing.assert_close(mine, timms)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"mixup": -0.1}, "mixup = -0.1: must be a number from 0 (0 = off)"),
        ({"cutmix": float("inf")}, "cutmix = inf: must be a number from 0 (0 = off)"),
        ({"prob": 1.1}, "prob = 1.1: must be a probability, 0 to 1"),
        ({"switch_prob": float("nan")}, "switch_prob = nan: must be a probability, 0 to 1"),
    ],
)
def test_wrong_values_are_refused(options: dict[str, Any], line: str) -> None:
    with pytest.raises(InvalidValueError) as error:
        Mix(**options)
    assert str(error.value) == line


def test_nothing_is_mixed_unless_asked() -> None:
    assert [Mix().active, Mix(mixup=0.2).active, Mix(cutmix=1.0).active] == [False, True, True]
    assert not Mix(mixup=1.0, cutmix=1.0, prob=0.0).active


class Looker(pl.LightningModule):
    """Keeps the labels it is given, stage by stage."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: dict[str, list[Tensor]] = {"training": [], "validation": [], "test": []}

    def training_step(self, batch: Any) -> Tensor:
        self.seen["training"].append(batch[1])
        return self.weight * batch[0].mean()

    def validation_step(self, batch: Any) -> None:
        self.seen["validation"].append(batch[1])

    def test_step(self, batch: Any) -> None:
        self.seen["test"].append(batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.filterwarnings("ignore")
def test_training_alone_sees_mixed_batches_new_ones_each_time() -> None:
    def seen(seed: int, epochs: int = 2) -> dict[str, list[Tensor]]:
        spec = replace(TINY, mix=Mix(mixup=1.0), val_fraction=0.2, train_images=40, batch_size=16)
        looker = Looker()
        quiet: Any = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        trainer = pl.Trainer(
            accelerator="cpu", max_epochs=epochs, use_distributed_sampler=False, enable_checkpointing=False,
            num_sanity_val_steps=0, **quiet,
        )  # fmt: skip
        data = ImageDataModule(spec, CONFIG, seed)
        trainer.fit(looker, datamodule=data)
        trainer.test(looker, datamodule=data, verbose=False)
        return looker.seen

    first, again, other = seen(0), seen(0), seen(1)
    assert all(labels.dtype == torch.int64 for stage in ("validation", "test") for labels in first[stage])
    training = first["training"]
    assert [labels.shape for labels in training] == [(16, 10), (16, 10)] * 2
    drawn = [round(labels[labels > 0].min().item(), 5) for labels in training]
    assert len(set(drawn)) == 4  # a draw of its own for each batch and epoch
    assert all(torch.equal(a, b) for a, b in zip(training, again["training"], strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(training, other["training"], strict=True))


@pytest.mark.slow
def test_a_run_with_mixed_batches_and_augmentation_repeats_bit_for_bit(
    small_run: Callable[..., Any], tmp_path: Path
) -> None:
    options = ("data/mix=both", "data/augment=crop_flip", "label_smoothing=0.1", "schedule.fractions=[1.0]")
    small_run(tmp_path / "one", *options)
    small_run(tmp_path / "two", *options)
    small_run(tmp_path / "plain", *options[1:])
    one, two, plain = ((tmp_path / run / "network.safetensors").read_bytes() for run in ("one", "two", "plain"))
    assert one == two != plain
