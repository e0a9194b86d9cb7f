"""Load streamed images: equally long epochs on every rank, tests that see each image once."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from pwfn.data.images import DataError
from pwfn.data.loading.samplers import ends_in_one, images_per_rank
from pwfn.data.streams import ImageStream, Part, Raw
from pwfn.data.transforms import Steps
from pwfn.randomness import mixed_seed, own_streams, seed_streams


class Streamed(IterableDataset[tuple[Tensor, int]]):
    """Pass once over a rank's share of a stream, for evaluation: each image once over all ranks.

    Args:
        stream: the split.
        steps: its transform.
        rank: of this process.
        world_size: number of ranks.
    """

    def __init__(self, stream: ImageStream, steps: Steps, rank: int, world_size: int) -> None:
        self.stream, self.steps, self.rank, self.world_size = stream, steps, rank, world_size

    def __iter__(self) -> Iterator[tuple[Tensor, int]]:
        for image, label in self.stream.images(self.part):
            yield self.steps(image), label

    @property
    def part(self) -> Part:
        """Say which part of a pass this process reads."""
        worker = get_worker_info()
        return Part(self.rank, self.world_size, *((worker.id, worker.num_workers) if worker else (0, 1)))


class StreamedEpoch(Streamed):
    """Yield `count` shuffled images for one rank, in batches that its workers make in turn.

    Equally many on every rank, because a process with a batch less would leave the others waiting. A worker whose
    shards hold fewer than its turns ask for begins again, so within one epoch a few images may come twice and as many
    not at all; shards are dealt out anew in each epoch. The order is a function of (seed, epoch, part), and what is
    drawn for an image one of its place in that order.

    A resumed run has `batches` of `epoch` behind it (`skip`): those are read but not decoded.

    Args:
        stream: as for `Streamed`, as are the next three.
        steps: likewise.
        rank: likewise.
        world_size: likewise.
        count: images of this rank in an epoch.
        batch_size: of this rank.
        seed: of the run.
    """

    def __init__(
        self, stream: ImageStream, steps: Steps, rank: int, world_size: int, *, count: int, batch_size: int, seed: int
    ) -> None:
        super().__init__(stream, steps, rank, world_size)
        self.count, self.batch_size, self.seed = count, batch_size, seed
        self.epoch = 0
        self._skipped = (0, 0)

    def skip(self, epoch: int, batches: int) -> None:
        """Pass over the first `batches` of `epoch`, which a resumed run has seen."""
        self._skipped = (epoch, batches)

    def turns(self, worker: int, workers: int) -> int:
        """Count the images that `worker` of `workers` gives: those of every `workers`-th batch."""
        starts = range(worker * self.batch_size, self.count, workers * self.batch_size)
        return sum(min(self.batch_size, self.count - start) for start in starts)

    def __iter__(self) -> Iterator[tuple[Tensor, int]]:
        epoch, batches = self._skipped
        skipped = batches if epoch == self.epoch else 0
        # torch asks worker 0 for the first batch, which is the one that another's turn would be
        part = replace(self.part, worker=(self.part.worker + skipped) % self.part.workers)
        behind = len(range(part.worker, skipped, part.workers)) * self.batch_size  # images of this part
        turns = self.turns(part.worker, part.workers)
        place, passes = 0, 0
        while place < turns:
            place_before = place
            for raw in self.stream.raw(part, mixed_seed(self.seed, self.epoch, passes)):
                if place < behind:
                    raw.file.close()
                else:
                    yield self._transformed(raw, (self.epoch, part.index, place))
                place += 1
                if place == turns:
                    return
            if place == place_before:
                raise DataError(
                    f"{self.stream.title}: part {part.index} of {part.count} has no images; fewer data.num_workers"
                )
            passes += 1

    def _transformed(self, raw: Raw, at: tuple[int, ...]) -> tuple[Tensor, int]:
        image, label = self.stream.image(raw)
        if self.steps.random is None:
            return self.steps(image), label
        with own_streams():
            seed_streams(self.seed, *at)
            return self.steps(image), label


class StreamLoader(DataLoader[Any]):
    """Ask `epoch` for its number at each start, and start workers anew, which copy it."""

    def __init__(self, images: Streamed, epoch: Callable[[], int], **options: Any) -> None:
        super().__init__(images, **options)
        self.epoch = epoch

    def __iter__(self) -> Any:
        if isinstance(self.dataset, StreamedEpoch):
            self.dataset.epoch = self.epoch()
        return super().__iter__()

    def __len__(self) -> int:
        """Count batches. An evaluation has no length: each worker ends with a batch that may not be full."""
        if not isinstance(self.dataset, StreamedEpoch):
            raise TypeError("the number of batches is not known before they have been read")
        return math.ceil(self.dataset.count / self.dataset.batch_size)


def stream_images_per_rank(stream: ImageStream, share: float, world_size: int, batch_size: int) -> int:
    """Count the images that each rank trains on in one epoch.

    Args:
        stream: whose `length` must be known.
        share: above 0 to 1, of the stream.
        world_size: number of ranks.
        batch_size: of one rank. A last batch of one image is left out: BatchNorm cannot train on it.

    Returns:
        The number, the same on every rank.

    Raises:
        DataError: the length is not known.
    """
    if stream.length is None:
        raise DataError(f"{stream.title}: does not say how many images it has; set data.train_length")
    count = images_per_rank(stream.length, share, world_size)
    return count - ends_in_one(count, batch_size)
