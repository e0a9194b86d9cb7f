"""The images of one run as Lightning wants them: loaded once, split once, transformed as the model's config says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.distributed
from pytorch_lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler, Sampler

from pwfn.data.images import ImageSet
from pwfn.data.samplers import EachOnce, ShuffledShare
from pwfn.data.spec import ImageData, Partition, is_integer
from pwfn.data.transforms import Config, Steps, Transform, build_transforms
from pwfn.faults import require

# Splits whose transformed tensors take less than this are kept in memory. It holds all of Fashion-MNIST at 32 pixels
# (234 MiB) and stays small next to what a process needs anyway for torch and a network; each rank keeps its own copy.
CACHE_BYTES = 512 * 2**20

Batch = tuple[Tensor, Tensor]


class Transformed(Dataset[tuple[Tensor, int]]):
    """Images that are transformed each time they are asked for."""

    def __init__(self, images: ImageSet, steps: Steps) -> None:
        self.images = images
        self.steps = steps

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image, label = self.images[index]
        return self.steps(image), label


class Cached(Dataset[tuple[Tensor, int]]):
    """Images whose fixed transform was done once: `images` float32 [n, C, H, W], `labels` int64 [n]."""

    def __init__(self, images: Tensor, labels: Tensor, random: Transform | None) -> None:
        self.images = images
        self.labels = labels
        self.random = random

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = self.images[index]
        return image if self.random is None else self.random(image), int(self.labels[index])

    def __getitems__(self, indices: list[int]) -> Batch:
        """A whole batch with one indexing: the DataLoader prefers this method where a dataset has it."""
        images = self.images[indices]
        if self.random is not None:
            images = torch.stack([self.random(image) for image in images])
        return images, self.labels[indices]


def feed(images: ImageSet, steps: Steps, cache_bytes: int) -> Transformed | Cached:
    """What a loader reads from: `Cached` if the transformed images need less than `cache_bytes`, else `Transformed`."""
    if steps.fixed is None:
        return Transformed(images, steps)
    first: Tensor = steps.fixed(images[0][0])
    if len(images) * first.numel() * first.element_size() >= cache_bytes:
        return Transformed(images, steps)
    kept = torch.empty((len(images), *first.shape), dtype=first.dtype)
    for index in range(len(images)):
        kept[index] = steps.fixed(images[index][0])
    return Cached(kept, torch.from_numpy(images.labels.astype(np.int64)), steps.random)


def as_is(batch: Batch) -> Batch:
    """The collate function of `Cached`, whose batches are whole already."""
    return batch


class ImageDataModule(LightningDataModule):
    """The loaders of one run. The Trainer needs `use_distributed_sampler=False`: the samplers here know their rank.

    `data_config` comes from `timm.data.resolve_data_config({}, model=model)`; `seed` is the run's, and orders the
    training images (the splits depend on `spec.split_seed` alone). `train_share`, above 0 to 1, may be set between
    fits: each epoch then sees only so much of its shuffled order.
    """

    partition: Partition | None

    def __init__(self, spec: ImageData, data_config: Config, seed: int) -> None:
        super().__init__()
        self.spec = spec
        self.seed = seed
        require(self, seed=(is_integer(seed, 0), "an integer from 0"))
        self.train_steps, self.eval_steps = build_transforms(spec, data_config, spec.channels)
        self.partition = None
        self.train_share = 1.0
        self._feeds: dict[str, Transformed | Cached] = {}

    def prepare_data(self) -> None:
        self.spec.prepare()

    def setup(self, stage: str | None = None) -> None:
        """Load and split at the first call only: Lightning calls this at every fit and test."""
        if self.partition is None:
            if self.trainer is None:  # with a trainer, Lightning has called prepare_data once per machine
                self.prepare_data()
            self.partition = self.spec.partition()

    def train_dataloader(self) -> DataLoader[Any]:
        """Shuffled anew in each epoch. A last batch of one image is left out: BatchNorm cannot train on it."""
        require(self, train_share=(0 < self.train_share <= 1, "a number above 0 to 1"))
        source = self._feed("train")
        rank, world_size = rank_and_world_size()
        sampler = ShuffledShare(len(source), self.seed, self.train_share, rank, world_size)
        if self.trainer is not None:
            # Lightning fetches the first batch before it calls set_epoch, so a resumed fit would start with epoch 0's
            progress: Any = self.trainer.fit_loop.epoch_progress.current
            sampler.set_epoch(progress.processed)
        size = self.spec.batch_size
        return self._loader(
            source,
            sampler,
            batch_size=size,
            drop_last=len(sampler) > size and len(sampler) % size == 1,
            worker_seed=(self.seed, rank, sampler.epoch),
            keep_workers=True,
        )

    def val_dataloader(self) -> DataLoader[Any] | list[Any]:
        """Evaluation transform, never shuffled; an empty list when `val_fraction` is 0."""
        if self._loaded().val is None:
            return []
        source = self._feed("val")
        rank, world_size = rank_and_world_size()
        # Equally many batches on each rank, as in training: inside a fit, DDP's forward is a collective call.
        sampler: Sampler[int] = (
            DistributedSampler(source, world_size, rank, shuffle=False) if world_size > 1 else EachOnce(len(source))
        )
        return self._eval_loader(source, sampler, keep_workers=True)

    def test_dataloader(self) -> DataLoader[Any]:
        """Evaluation transform, never shuffled, every image exactly once over all ranks (so a rank may have fewer)."""
        source = self._feed("test")
        return self._eval_loader(source, EachOnce(len(source), *rank_and_world_size()), keep_workers=False)

    def _eval_loader(self, source: Transformed | Cached, sampler: Sampler[int], keep_workers: bool) -> DataLoader[Any]:
        return self._loader(
            source,
            sampler,
            batch_size=self.spec.eval_batch_size,
            drop_last=False,
            worker_seed=(self.seed,),
            keep_workers=keep_workers,
        )

    def _loader(
        self,
        source: Transformed | Cached,
        sampler: Sampler[int],
        *,
        batch_size: int,
        drop_last: bool,
        worker_seed: tuple[int, ...],
        keep_workers: bool,
    ) -> DataLoader[Any]:
        collate: Callable[[Any], Any] | None = as_is if isinstance(source, Cached) else None
        # Indexing a tensor is cheaper than sending the batch from another process.
        workers = 0 if isinstance(source, Cached) and source.random is None else self.spec.num_workers
        return DataLoader(
            source,
            batch_size=batch_size,
            sampler=sampler,
            drop_last=drop_last,
            num_workers=workers,
            persistent_workers=keep_workers and workers > 0,
            pin_memory=torch.cuda.is_available(),
            collate_fn=collate,
            generator=_generator(worker_seed),
        )

    def _loaded(self) -> Partition:
        self.setup()
        assert self.partition is not None
        return self.partition

    def _feed(self, split: str) -> Transformed | Cached:
        """Made when first asked for, then kept over all rounds."""
        if split not in self._feeds:
            steps = self.train_steps if split == "train" else self.eval_steps
            self._feeds[split] = feed(getattr(self._loaded(), split), steps, CACHE_BYTES)
        return self._feeds[split]


def _generator(seeds: tuple[int, ...]) -> torch.Generator:
    """What a loader seeds its workers from, so that augmentation differs by rank and from one fit to the next.

    Without one, a loader takes a number from the global stream each time it is iterated, and an evaluation more or
    less would shift the noise of the weights. Lightning iterates a loader once more in a new fit than in a resumed one,
    so a resumed run repeats the order of the images exactly, but not what workers draw for their augmentation.
    """
    return torch.Generator().manual_seed(int(np.random.SeedSequence(seeds).generate_state(1, np.uint64)[0] >> 1))


def rank_and_world_size() -> tuple[int, int]:
    """(0, 1) outside of a process group."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1
