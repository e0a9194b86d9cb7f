"""Define what every data set fulfills: which images there are, how they are split and fed."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pwfn.data.augment import Augment, NoAugment
from pwfn.data.images import DataError, ImageSet, stratified_split
from pwfn.data.mix import Mix
from pwfn.data.streams import ImageStream
from pwfn.data.transforms import Config, transform_config
from pwfn.errors import require

VALIDATION_SHARE, FEW_IMAGES = 0.1, 20  # with val_fraction = null: of the training images, if there are so many


class Splits(NamedTuple):
    """Hold the images of a data set, untransformed; `test` is never trained on.

    `train` may still give validation images.
    """

    train: ImageSet | ImageStream
    test: ImageSet | ImageStream


class Partition(NamedTuple):
    """Divide the images of a run; none is in two of them. `val` is None when nothing is held out."""

    train: ImageSet | ImageStream
    val: ImageSet | None
    test: ImageSet | ImageStream


def is_integer(value: Any, least: int) -> bool:
    """Tell whether a value is an integer from `least` on; True and False are none."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


@dataclass(frozen=True, kw_only=True)
class ImageData(ABC):
    """Describe one data set; making it reads nothing. `conf/data/` says what each value means."""

    batch_size: int = 64
    eval_batch_size: int = 256
    num_workers: int = 0
    prefetch_factor: int = 2
    persistent_workers: bool = True
    pin_memory: bool = True
    normalize_on_device: bool = False
    image_size: int | None = None
    crop_pct: float | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] | None = None
    val_fraction: float | None = 0.0
    split_seed: int = 0
    train_images: int | None = None
    test_images: int | None = None
    augment: Augment = field(default_factory=NoAugment)
    mix: Mix = field(default_factory=Mix)

    @property
    @abstractmethod
    def channels(self) -> int:
        """Count the color channels of the images the network is given: 1 (gray) or 3 (RGB)."""

    @property
    @abstractmethod
    def num_classes(self) -> int:
        """Count the classes; raise `DataError` where they are counted on a disk that does not hold the images."""

    @property
    def known_images(self) -> int | None:
        """Count the training images before any are chosen, if known without reading them, else None."""
        return None

    @property
    def classes_if_known(self) -> int | None:
        """Return `num_classes`, or None where they are counted on a disk that does not hold the images."""
        try:
            return self.num_classes
        except DataError:
            return None

    @property
    @abstractmethod
    def class_names(self) -> tuple[str, ...] | None:
        """List the names in the order of the labels, or None where the labels have none."""

    @abstractmethod
    def load(self) -> Splits:
        """Read every label (and small sets entirely). Raise `DataError` when something is missing or damaged."""

    @property
    def test_class_names(self) -> tuple[str, ...] | None:
        """List the names of the classes that the test images are labeled with, where only those are used."""
        return self.class_names

    @property
    def test_place(self) -> str:
        """Say where the test images come from, as "val/"; empty where that has no name."""
        return ""

    @property
    def why_no_validation(self) -> str | None:
        """Say which setting leaves no validation images, and what to set; None where some will or may be left."""
        return None if self.val_fraction != 0 else "data.val_fraction = 0: set it, as data.val_fraction=0.1"

    def check_layout(self) -> None:  # noqa: B027  (most sets are small)
        """Raise `DataError` before anything is built or fetched, for what can be seen without reading much."""

    def check_files(  # noqa: B027  (most sets are not files of the user's own)
        self, cache: Path, progress: Callable[[int, int], None] = lambda done, count: None
    ) -> None:
        """Look at every image before anything trains, where the set is asked to.

        Args:
            cache: file in which the outcome for each image is kept; it need not exist.
            progress: is told how many images have been looked at, and of how many.

        Raises:
            DataError: naming every image that cannot be read.
        """

    def remarks(self) -> list[str]:
        """Return a line for each thing passed over, or perhaps not as it was meant, at the last `load`."""
        return []

    def split_table(self, partition: Partition) -> str | None:
        """Return the split of each image as CSV, where the set chose it; None where the split was given."""
        del partition
        return None

    def order_list(self) -> str | None:
        """Return the classes in their order, one a line, where a file of the user's says it; None otherwise."""
        return None

    def prepare(self) -> None:  # noqa: B027  (most sets have nothing to fetch)
        """Fetch what `load` reads. Called once per machine, before any process calls `load`."""

    def __post_init__(self) -> None:
        from_1 = "an integer from 1"
        require(
            self,
            batch_size=(is_integer(self.batch_size, 1), from_1),
            eval_batch_size=(is_integer(self.eval_batch_size, 1), from_1),
            num_workers=(is_integer(self.num_workers, 0), "an integer from 0"),
            prefetch_factor=(is_integer(self.prefetch_factor, 1), from_1),
            normalize_on_device=(
                not (self.normalize_on_device and self.augment.erases),
                "false with data.augment.re_prob above 0, which erases from normalized images",
            ),
            image_size=(self.image_size is None or is_integer(self.image_size, 1), f"{from_1}, or null"),
            crop_pct=(self.crop_pct is None or 0 < self.crop_pct <= 1, "a number above 0, at most 1, or null"),
            mean=(self._one_a_channel(self.mean), "a number for each color channel of the network, or null"),
            std=(
                self._one_a_channel(self.std) and all(value > 0 for value in self.std or ()),
                "a number above 0 for each color channel of the network, or null",
            ),
            val_fraction=(
                self.val_fraction is None
                or (isinstance(self.val_fraction, (int, float)) and 0 <= self.val_fraction < 1),
                "a number from 0 to below 1, or null",
            ),
            split_seed=(is_integer(self.split_seed, 0), "an integer from 0"),
            train_images=(self.train_images is None or is_integer(self.train_images, 1), f"{from_1}, or null"),
            test_images=(self.test_images is None or is_integer(self.test_images, 1), f"{from_1}, or null"),
            **self.rules(),
        )

    def rules(self) -> dict[str, tuple[bool, str]]:
        """Return the rules for a subclass's own fields, in the form `pwfn.errors.require` takes."""
        return {}

    def _one_a_channel(self, values: tuple[float, ...] | None) -> bool:
        return values is None or (len(values) == self.channels and all(map(math.isfinite, values)))

    def image_config(self, data_config: Config) -> Config:
        """Adapt a model's data config to these images; see `pwfn.data.transforms.transform_config`."""
        names = ("crop_pct", "mean", "std", "interpolation")
        chosen = {name: value for name in names if (value := getattr(self, name)) is not None}
        return transform_config(data_config, self.channels, self.image_size, chosen)

    def test_images_alone(self) -> ImageSet | ImageStream:
        """Load the test images of `partition` without looking for any other."""
        test = self.load_test()
        return test if isinstance(test, ImageStream) else self._limit(test, "test_images")

    def load_test(self) -> ImageSet | ImageStream:
        """Load the test images, their labels numbered as in `test_class_names`."""
        return self.load().test

    def partition(self) -> Partition:
        """Load, keep `train_images` and `test_images`, then hold out validation images.

        Depends on the fields of this object alone, so it is the same in every round, process and resumed run.

        Raises:
            DataError: images are missing, damaged or too few.
        """
        train, test = self.load()
        if isinstance(train, ImageStream) or isinstance(test, ImageStream):
            return Partition(train, None, test)
        train = self._limit(train, "train_images")
        test = self._limit(test, "test_images")
        count = self.validation_images(len(train))
        if count == 0 and not self.val_fraction:
            return Partition(train, None, test)
        if not 0 < count < len(train):
            raise DataError(f"val_fraction = {self.val_fraction}: takes {count} of {len(train)} training images")
        held_out, rest = stratified_split(train.labels, count, self.split_seed)
        return Partition(train.pick(rest), train.pick(held_out), test)

    def validation_images(self, images: int) -> int:
        """Count the validation images that are held out of so many training images."""
        if self.val_fraction is None:
            return round(VALIDATION_SHARE * images) if images >= FEW_IMAGES else 0
        return round(self.val_fraction * images)

    def _limit(self, images: ImageSet, field: str) -> ImageSet:
        wanted: int | None = getattr(self, field)
        if wanted is None:
            return images
        if wanted > len(images):
            raise DataError(f"{field} = {wanted}: {type(self).__name__} has only {len(images)}")
        return images.pick(stratified_split(images.labels, wanted, self.split_seed)[0])
