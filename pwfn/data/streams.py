"""Read images one after another: WebDataset shards and streamed Hugging Face sets.

timm's own readers of these sets repeat and drop images in a test on several processes, and pass over damaged ones. So
timm finds the set, and these classes read it: in one pass, every image is read by exactly one part (rank and worker).
"""

from __future__ import annotations

import io
import json
import random
import tarfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from typing_extensions import override

from pwfn.data.files.decoding import decoded
from pwfn.data.images import DataError, ImageSet
from pwfn.errors import one_line
from pwfn.randomness import mixed_seed

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class Part:
    """Say which part of a pass a process reads.

    Attributes:
        rank: from 0.
        world_size: number of ranks.
        worker: number of this loader process of the rank, from 0.
        workers: how many the rank has, at least 1.
    """

    rank: int = 0
    world_size: int = 1
    worker: int = 0
    workers: int = 1

    @property
    def index(self) -> int:
        """Return the number of this part, from 0."""
        return self.rank * self.workers + self.worker

    @property
    def count(self) -> int:
        """Return the number of parts."""
        return self.world_size * self.workers


class Raw(NamedTuple):
    """Hold an image as it is stored; `name` stands in the message when it turns out to be damaged."""

    file: IO[bytes]
    label: Any
    name: str


@dataclass
class ImageStream(ABC):
    """Stream one split.

    Attributes:
        title: leads messages.
        num_classes: labels are 0 to below this.
        length: number of images; None where nothing says it.
        shuffle_buffer: images that each worker shuffles among.
        exif: turn images as their EXIF orientation says.
    """

    title: str
    num_classes: int
    length: int | None
    shuffle_buffer: int
    exif: bool = field(default=False, kw_only=True)  # turn images as their EXIF orientation says

    def images(self, part: Part, seed: int | None = None) -> Iterator[tuple[Image, int]]:
        """Read one part of a pass.

        Args:
            part: which part.
            seed: of the shuffling, the same in all parts; None keeps the set's order. A pass is shuffled as a stream
                can be: the order of the shards, and the images within a window of `shuffle_buffer` of them.

        Raises:
            DataError: an image or a shard is damaged, or a label is not a class.
        """
        for raw in self.raw(part, seed):
            yield self.image(raw)

    def image(self, raw: Raw) -> tuple[Image, int]:
        """Decode an image and its label, and close its file."""
        with raw.file as file:
            return decoded(file, raw.name, exif=self.exif), self._label(raw)

    def _label(self, raw: Raw) -> int:
        try:
            label = int(raw.label)
        except (TypeError, ValueError):
            raise DataError(f"{raw.name}: its label {raw.label!r} is no whole number (data.target_key)") from None
        if not 0 <= label < self.num_classes:
            raise DataError(f"{raw.name}: has the label {label}, data.num_classes = {self.num_classes} allows 0 to "
                            f"{self.num_classes - 1}")  # fmt: skip
        return label

    @abstractmethod
    def raw(self, part: Part, seed: int | None) -> Iterator[Raw]:
        """Read one part of a pass as `images` does, without decoding."""

    def most_workers(self, world_size: int) -> int | None:
        """Count the workers of each of `world_size` ranks that get something to read; None if any number does."""
        del world_size  # any number does, unless a subclass knows better
        return None


@dataclass
class TarStream(ImageStream):
    """Read shards of WebDataset: tar files in which a sample's files, as 17.jpg and 17.cls, are adjacent."""

    shards: list[str]
    image_key: str
    label_key: str | None  # of the json file; None = the cls file

    @override
    def raw(self, part: Part, seed: int | None) -> Iterator[Raw]:
        import webdataset as wds

        shards = list(self.shards)
        if seed is not None:
            random.Random(seed).shuffle(shards)
        by_shard = len(shards) >= part.count  # else every part reads all shards, and keeps its share of the samples
        stages = [
            wds.SimpleShardList(shards[part.index :: part.count] if by_shard else shards),
            wds.tarfile_to_samples(),
        ]
        samples: Any = wds.DataPipeline(*stages)
        if not by_shard:
            samples = islice(samples, part.index, None, part.count)
        if seed is not None:
            rng = random.Random(mixed_seed(seed, part.index))
            samples = wds.shuffle(self.shuffle_buffer, initial=self.shuffle_buffer, rng=rng)(iter(samples))
        try:
            for sample in samples:
                yield self._sample(sample)
        except (OSError, EOFError, tarfile.TarError, ValueError) as error:  # ValueError: two files of the same name
            reason = ", ".join(str(detail) for detail in error.args if isinstance(detail, str)) or str(error)
            raise DataError(f"{self.title}: a shard cannot be read ({one_line(reason)})") from error

    def _sample(self, sample: dict[str, Any]) -> Raw:
        name = f"{sample['__url__']}: {sample['__key__']}"
        image = next((sample[key] for key in self.image_key.split(";") if key in sample), None)
        label: Any = sample.get("cls" if self.label_key is None else "json")
        if image is None or label is None:
            wanted = f"{self.image_key} (data.input_key)" if image is None else self.label_key or "cls"
            has = ", ".join(key for key in sample if not key.startswith("__"))
            raise DataError(f"{name}: has no {wanted}, only {has}")
        if self.label_key is not None:
            try:
                label = json.loads(label)[self.label_key]
            except (ValueError, LookupError, TypeError):
                raise DataError(f"{name}: its json has no {self.label_key} (data.target_key)") from None
        return Raw(io.BytesIO(image), label.decode(errors="replace") if isinstance(label, bytes) else label, name)


@dataclass
class HubStream(ImageStream):
    """Read a Hugging Face set from the hub while it is used, by a `datasets.DatasetBuilder`."""

    builder: Any
    split: str
    image_key: str
    label_key: str

    @override
    def raw(self, part: Part, seed: int | None) -> Iterator[Raw]:
        import fsspec
        from datasets import Image
        from datasets.distributed import split_dataset_by_node

        samples = self._samples().cast_column(self.image_key, Image(decode=False))
        if seed is not None:
            samples = samples.shuffle(seed=seed, buffer_size=self.shuffle_buffer)
        # within a rank, `datasets` itself deals the shards out to the workers
        samples = split_dataset_by_node(samples, rank=part.rank, world_size=part.world_size)
        for index, sample in enumerate(samples):
            stored = sample[self.image_key]
            content = stored["bytes"]
            file = io.BytesIO(content) if content is not None else fsspec.open(stored["path"], "rb").open()
            yield Raw(
                file, sample[self.label_key], stored["path"] or f"{self.title}: image {index} of part {part.index}"
            )

    @override
    def most_workers(self, world_size: int) -> int:
        shards: int = self._samples().num_shards
        return max(1, shards // world_size if shards % world_size == 0 else shards)

    def features(self) -> dict[str, Any]:
        """Return what is known of each column, by its name; empty if only the images themselves show it."""
        return dict(self._samples().features or {})

    def _samples(self) -> Any:
        return self.builder.as_streaming_dataset(self.split)


def counted_images(images: ImageSet | ImageStream) -> str:
    """Write how many images there are, as far as a stream knows it."""
    length = images.length if isinstance(images, ImageStream) else len(images)
    return "an unknown number of" if length is None else f"{length:,}"
