"""Load a run's images once, split them once, transform them as the model's data config says."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any, Literal

import torch
from pytorch_lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, DistributedSampler, Sampler, default_collate
from typing_extensions import override

from pwfn.data.augment import build_transforms
from pwfn.data.calibration import calibration_images
from pwfn.data.images import ImageSet
from pwfn.data.loading.device_batches import Normalization, NormalizedCollate
from pwfn.data.loading.feed import CACHE_BYTES, Batch, Cached, Transformed, as_is, feed
from pwfn.data.loading.loader_workers import leave_signals_to_the_run, worker_generator
from pwfn.data.loading.samplers import EachOnce, NumberedShare, ends_in_one, rank_and_world_size
from pwfn.data.loading.stream_loader import Streamed, StreamedEpoch, StreamLoader, stream_images_per_rank
from pwfn.data.spec import ImageData, Partition, is_integer
from pwfn.data.streams import ImageStream, counted_images
from pwfn.data.transforms import Config
from pwfn.errors import require


class ImageDataModule(LightningDataModule):
    """Build the loaders of one run.

    The Trainer needs `use_distributed_sampler=False`: the samplers here know their rank.

    Which image comes when, and how it is augmented and mixed, are functions of the seed, the epoch and the rank alone.

    Args:
        spec: which images, and how they are split and augmented.
        data_config: `timm.data.resolve_data_config({}, model=model)`.
        seed: of the run, from 0; it orders the training images (the splits depend on `spec.split_seed` alone).

    Attributes:
        config: how images are prepared, as arguments of `timm.data.create_transform`.
        train_share: above 0 to 1; may be set between fits. Each epoch sees only so much of its shuffled order.
        batches_done: how many batches of its first epoch a resumed fit has behind it.
    """

    partition: Partition | None

    def __init__(self, spec: ImageData, data_config: Config, seed: int) -> None:
        super().__init__()
        self.spec = spec
        self.seed = seed
        require(self, seed=(is_integer(seed, 0), "an integer from 0"))
        self.config = spec.image_config(data_config)
        self.normalization = Normalization.of(self.config)
        prepared = self.config | {"normalize": not spec.normalize_on_device}
        self.train_steps, self.eval_steps = build_transforms(spec.augment, prepared)
        self.partition = None
        self.train_share = 1.0
        self.batches_done = 0
        self._feeds: dict[str, Transformed | Cached] = {}

    def prepare_data(self) -> None:
        """Fetch what is missing; Lightning calls this once per machine."""
        self.spec.prepare()

    @override
    def setup(self, stage: str | None = None) -> None:
        """Load and split at the first call only: Lightning calls this at every fit and test."""
        if self.partition is None:
            if self.trainer is None:  # with a trainer, Lightning has called prepare_data once per machine
                self.prepare_data()
            self.partition = self.spec.partition()

    def train_dataloader(self) -> DataLoader[Any]:
        """Shuffle anew in each epoch. A last batch of one image is left out: BatchNorm cannot train on it."""
        require(self, train_share=(0 < self.train_share <= 1, "a number above 0 to 1"))
        rank, world_size = rank_and_world_size()
        if isinstance(self._loaded().train, ImageStream):
            return self._stream_epochs(rank, world_size)
        source = self._feed("train")
        sampler = NumberedShare(len(source), self.seed, self.train_share, rank, world_size)
        # Lightning fetches the first batch before it calls set_epoch, so a resumed fit would start with epoch 0's
        sampler.set_epoch(self._epoch())
        size = self.spec.batch_size
        sampler.skip(self._epoch(), self.batches_done * size)
        return self._loader(
            source,
            sampler,
            batch_size=size,
            drop_last=ends_in_one(len(sampler), size),
            worker_seed=(self.seed, rank, sampler.epoch),
            keep_workers=True,
        )

    def batches_outside_fits(self) -> DataLoader[Any]:
        """Load the whole training split in the order that the next epoch will have; the images are not mixed."""
        self.train_share, self.batches_done = 1.0, 0  # whatever the fit before had; the next one sets its own
        return self.train_dataloader()

    def calibration_images(self, count: int) -> Tensor:
        """Return this rank's share of `count` training images, as `pwfn.data.calibration` does."""
        of_ranks = rank_and_world_size()
        return self.normalization(
            calibration_images(self._split("train"), self.eval_steps, self.seed, count, *of_ranks)
        )

    def val_dataloader(self) -> DataLoader[Any] | list[Any]:
        """Load the validation images in order, transformed as in evaluation; an empty list if there are none."""
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
        """Load every test image exactly once over all ranks, in order (so a rank may have fewer)."""
        images = self._split("test")
        if isinstance(images, ImageStream):
            streamed = Streamed(images, self.eval_steps, *rank_and_world_size())
            return self._stream_loader(streamed, self.spec.eval_batch_size, (self.seed,))
        source = self._feed("test")
        return self._eval_loader(source, EachOnce(len(source), *rank_and_world_size()), keep_workers=False)

    @override
    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Normalize bytes on the device; mix a training batch, if `spec.mix` says so, to labels [n, C]."""
        images, labels = self.normalization(batch[0]), batch[1]
        if not self.spec.mix.active or self.trainer is None or not self.trainer.training:
            return images, labels
        rank, _ = rank_and_world_size()
        at = (self._epoch(), self.trainer.fit_loop.epoch_loop.batch_progress.current.ready)
        return self.spec.mix.mixed(images, labels, self._num_classes, seeds=(self.seed, rank, *at))

    def count(self, split: Literal["train", "val", "test"]) -> int | None:
        """Count the images of a split; None where there are none, or where they are streamed."""
        images = getattr(self._loaded(), split)
        return None if images is None or isinstance(images, ImageStream) else len(images)

    def sentence(self) -> str:
        """Say how many images there are of each split, of how many classes, and how they are prepared."""
        train, val, test = self._loaded()
        place = f" ({self.spec.test_place})" if self.spec.test_place else ""
        held_out = "" if val is None else f"{len(val):,} validation, "
        counted = f"{counted_images(train)} training, {held_out}{counted_images(test)} test images{place}"
        _, height, width = self.config["input_size"]
        levels = ", ".join(f"{name} {' '.join(f'{v:.4g}' for v in self.config[name])}" for name in ("mean", "std"))
        prepared = f"{height} x {width}, crop {self.config['crop_pct']:.4g}, {self.config['interpolation']}, {levels}"
        return f"{counted}, {self.spec.num_classes} classes, {prepared}"

    def _epoch(self) -> int:
        """Return the number of the present epoch, which goes on counting over all fits of a run."""
        if self.trainer is None:
            return 0
        progress: Any = self.trainer.fit_loop.epoch_progress.current
        return int(progress.processed)

    def _stream_epochs(self, rank: int, world_size: int) -> StreamLoader:
        stream, size = self._loaded().train, self.spec.batch_size
        assert isinstance(stream, ImageStream)
        count = stream_images_per_rank(stream, self.train_share, world_size, size)
        epoch = StreamedEpoch(stream, self.train_steps, rank, world_size, count=count, batch_size=size, seed=self.seed)
        epoch.skip(self._epoch(), self.batches_done)
        return self._stream_loader(epoch, size, (self.seed, rank, self._epoch()))

    def _stream_loader(self, images: Streamed, batch_size: int, worker_seed: tuple[int, ...]) -> StreamLoader:
        most = images.stream.most_workers(images.world_size)
        workers = self.spec.num_workers if most is None else min(most, self.spec.num_workers)
        options = self._options(workers, default_collate, worker_seed)
        return StreamLoader(images, self._epoch, batch_size=batch_size, **options)

    @cached_property
    def _num_classes(self) -> int:
        return self.spec.num_classes

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
        collate = as_is if isinstance(source, Cached) else default_collate
        # Indexing a tensor is cheaper than sending the batch from another process.
        workers = 0 if isinstance(source, Cached) and source.random is None else self.spec.num_workers
        return DataLoader(
            source,
            batch_size=batch_size,
            sampler=sampler,
            drop_last=drop_last,
            persistent_workers=self.spec.persistent_workers and keep_workers and workers > 0,
            **self._options(workers, collate, worker_seed),
        )

    def _options(self, workers: int, collate: Callable[[Any], Any], seed: tuple[int, ...]) -> dict[str, Any]:
        """Return what all loaders have in common. Bytes are normalized where Lightning's hook sees them."""
        trainer = self.trainer
        hooked = trainer is not None and (trainer.training or trainer.evaluating)
        return {
            "num_workers": workers,
            "prefetch_factor": self.spec.prefetch_factor if workers else None,
            "pin_memory": self.spec.pin_memory and torch.cuda.is_available(),
            "collate_fn": collate if hooked else NormalizedCollate(self.normalization, collate),
            "worker_init_fn": leave_signals_to_the_run,
            "generator": worker_generator(seed),
        }

    def _loaded(self) -> Partition:
        self.setup()
        assert self.partition is not None
        return self.partition

    def _feed(self, split: str) -> Transformed | Cached:
        """Make the feed of a split when first asked for it, and keep it over all rounds."""
        if split not in self._feeds:
            steps = self.train_steps if split == "train" else self.eval_steps
            images = self._split(split)
            assert isinstance(images, ImageSet)
            self._feeds[split] = feed(images, steps, CACHE_BYTES, self.seed)
        return self._feeds[split]

    def _split(self, name: str) -> ImageSet | ImageStream:
        """Return the images of one split; for the test images nothing else needs to be there."""
        if name == "test" and self.partition is None:
            return self._test_alone
        images: ImageSet | ImageStream = getattr(self._loaded(), name)
        return images

    @cached_property
    def _test_alone(self) -> ImageSet | ImageStream:
        self.prepare_data()
        return self.spec.test_images_alone()
