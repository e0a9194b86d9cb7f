"""Streamed images: over all ranks and workers a test sees each image once, and every rank trains equally long."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from pwfn.data import DataError
from pwfn.data.loading.stream_loader import Streamed, StreamLoader, stream_images_per_rank
from pwfn.data.module import ImageDataModule
from pwfn.data.spec import Partition
from pwfn.data.streams import Part
from tests.support.images.data import CONFIG, TINY, message
from tests.support.images.streamed import STEPS, batches, counting, epoch_loader, values


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("world_size", [1, 3])
def test_a_test_sees_every_image_once(world_size: int, workers: int) -> None:
    seen: Counter[int] = Counter()
    for rank in range(world_size):
        loader = StreamLoader(
            Streamed(counting(23), STEPS, rank, world_size), lambda: 0, batch_size=4, num_workers=workers
        )
        once, again = values(loader), values(loader)
        assert once == again
        seen.update(once)
    assert seen == Counter(range(23))


@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize(
    ("length", "world_size", "sizes"), [(24, 1, [4] * 6), (22, 1, [4] * 5 + [2]), (22, 2, [4, 4, 3])]
)
def test_an_epoch_is_equally_long_on_every_rank(length: int, world_size: int, sizes: list[int], workers: int) -> None:
    stream = counting(length)
    count = stream_images_per_rank(stream, 1.0, world_size, 4)
    for rank in range(world_size):
        loader = epoch_loader(stream, rank, world_size, workers, count)
        assert len(loader) == len(sizes)
        assert sorted(batches(loader)) == sorted(sizes)


@pytest.mark.parametrize(("world_size", "workers"), [(1, 0), (1, 2), (2, 0), (2, 2)])
def test_an_epoch_without_a_remainder_sees_every_image_once(world_size: int, workers: int) -> None:
    loaders = [epoch_loader(counting(16), rank, world_size, workers, 16 // world_size) for rank in range(world_size)]
    assert Counter(value for loader in loaders for value in values(loader)) == Counter(range(16))


def test_the_order_is_a_function_of_seed_epoch_and_part() -> None:
    def order(seed: int, epoch: int, workers: int = 0) -> list[int]:
        return values(epoch_loader(counting(16), 0, 1, workers, 16, seed=seed, epoch=epoch))

    assert order(1, 2) == order(1, 2)
    assert order(1, 2, workers=2) == order(1, 2, workers=2)
    assert len({tuple(order(seed, epoch)) for seed in (0, 1) for epoch in (0, 1)}) == 4
    loader = epoch_loader(counting(16), 0, 1, 2, 16)
    loader.epoch = iter(range(2)).__next__
    assert [values(loader), values(loader)] == [order(0, 0, 2), order(0, 1, 2)]  # workers hear of the new epoch


@pytest.mark.slow
@pytest.mark.parametrize(("workers", "count"), [(0, 22), (2, 22), (2, 40)])
@pytest.mark.parametrize("skipped", [1, 2, 4])
def test_a_resumed_epoch_goes_on_with_the_next_batch(workers: int, count: int, skipped: int) -> None:
    """24 images, so that an epoch of 40 begins again; each part of the stream stays with the batches it had."""

    def loader() -> Any:
        return epoch_loader(counting(24), 0, 1, workers, count, epoch=3)

    whole = [images.flatten().tolist() for images, _ in loader()]
    resumed, other = loader(), loader()
    resumed.dataset.skip(3, skipped)
    other.dataset.skip(2, skipped)  # of another epoch
    assert [images.flatten().tolist() for images, _ in resumed] == whole[skipped:]
    assert [images.flatten().tolist() for images, _ in other] == whole
    assert len(resumed) == len(whole)


def test_a_part_with_too_few_images_begins_again_and_one_with_none_is_an_error() -> None:
    assert Counter(values(epoch_loader(counting(5), 0, 1, 0, 12))).most_common()[-1][1] == 2
    with pytest.raises(DataError) as error:
        values(epoch_loader(counting(1), 0, 1, 2, 12))
    assert message(error) == "counting: part 1 of 2 has no images; fewer data.num_workers"


@pytest.mark.parametrize(
    ("length", "share", "world_size", "count"),
    [(100, 1.0, 1, 100), (100, 0.07, 1, 7), (101, 1.0, 1, 101), (97, 1.0, 1, 96), (100, 0.05, 2, 3), (5, 1.0, 8, 1)],
)
def test_images_per_rank(length: int, share: float, world_size: int, count: int) -> None:
    """Rounded up, and a last batch of a single image is left out, but not the only one."""
    assert stream_images_per_rank(counting(1, length), share, world_size, 8 if length == 97 else 16) == count


def test_an_unknown_length_and_wrong_labels_are_said() -> None:
    with pytest.raises(DataError, match=r"^counting: does not say how many images it has; set data\.train_length$"):
        stream_images_per_rank(replace(counting(3), length=None), 1.0, 1, 4)
    with pytest.raises(DataError) as error:
        list(replace(counting(3), num_classes=1).images(Part()))
    assert message(error) == "image 1: has the label 1, data.num_classes = 1 allows 0 to 0"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("workers", [0, 2])
def test_lightning_runs_epochs_of_a_stream_anew_and_tests_all_of_it(
    workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Watcher(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(()))
            self.trained: list[list[int]] = []
            self.tested: list[int] = []

        def on_train_epoch_start(self) -> None:
            self.trained.append([])

        def training_step(self, batch: Any) -> torch.Tensor:
            self.trained[-1] += [round(v) for v in (batch[0].mean((1, 2, 3)) * 255).tolist()]
            return self.weight * batch[0].mean()

        def test_step(self, batch: Any) -> None:
            self.tested += [round(v) for v in (batch[0].mean((1, 2, 3)) * 255).tolist()]

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    plain = CONFIG | {"mean": (0.0,) * 3, "std": (1.0,) * 3}
    spec = replace(TINY, num_workers=workers, batch_size=4, eval_batch_size=4)
    monkeypatch.setattr(type(spec), "partition", lambda _: Partition(counting(24), None, counting(11)))
    data, watcher = ImageDataModule(spec, plain, 0), Watcher()
    quiet: Any = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = pl.Trainer(accelerator="cpu", max_epochs=2, enable_checkpointing=False, **quiet)
    trainer.fit(watcher, data)
    trainer.test(watcher, data, verbose=False)
    data.train_share = 0.5
    trainer.fit_loop.max_epochs = 3
    trainer.fit(watcher, data)
    assert [len(one) for one in watcher.trained] == [24, 24, 12]
    assert sorted(watcher.trained[0]) == sorted(watcher.trained[1]) == list(range(24))
    assert watcher.trained[0] != watcher.trained[1]
    assert watcher.trained[2] != watcher.trained[0][:12]
    assert sorted(watcher.tested) == list(range(11))
    assert trainer.global_step == 6 + 6 + 3
