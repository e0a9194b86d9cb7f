"""Read CIFAR-10 and CIFAR-100: 50,000 training and 10,000 test color photographs of 32 x 32 pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from typing_extensions import override

from pwfn.data.images import ArrayImages, DataError
from pwfn.data.spec import ImageData, Splits
from pwfn.errors import one_line
from pwfn.value_kinds import FilePath


@dataclass(frozen=True, kw_only=True)
class CIFAR10(ImageData):
    """Read ten classes with torchvision from `root`/cifar-10-batches-py.

    These files are pickles, and unpickling runs whatever code they hold. torchvision compares each file's MD5 with
    the published one first and refuses any other, so only the original files are ever unpickled.
    """

    channels: ClassVar[int] = 3
    num_classes: ClassVar[int] = 10
    class_names: ClassVar[tuple[str, ...]] = (
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    )

    folder: ClassVar[str] = "cifar-10-batches-py"

    root: FilePath = "data"
    download: bool = False

    @property
    @override
    def known_images(self) -> int:
        return 50_000

    @override
    def rules(self) -> dict[str, tuple[bool, str]]:
        return {
            "root": (isinstance(self.root, str), "a folder"),
            "download": (isinstance(self.download, bool), "true or false"),
        }

    @override
    def prepare(self) -> None:
        if self.download:
            self._read(train=True, download=True)

    @override
    def load(self) -> Splits:
        return Splits(self._read(train=True, download=False), self._read(train=False, download=False))

    def _read(self, train: bool, download: bool) -> ArrayImages:
        import torchvision.datasets

        name = type(self).__name__
        try:
            images = getattr(torchvision.datasets, name)(self.root, train=train, download=download)
        except (OSError, RuntimeError) as error:  # missing files and wrong checksums; no network, no room
            reason = one_line(str(error).split("You can use")[0], None)
            raise DataError(
                f"{name}: no intact {self.folder} in {self.root} ({reason}); get the images with"
                f" data.download=true (torchvision) or data.root=<folder that holds {self.folder}>"
            ) from error
        return ArrayImages(images.data, np.asarray(images.targets))


@dataclass(frozen=True, kw_only=True)
class CIFAR100(CIFAR10):
    """Read a hundred classes from `root`/cifar-100-python; the coarse classes are not used."""

    num_classes: ClassVar[int] = 100
    class_names: ClassVar[tuple[str, ...]] = tuple(
        """
        apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly
        camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup
        dinosaur dolphin elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower
        leopard lion lizard lobster man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid
        otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray
        road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar
        sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle
        wardrobe whale willow_tree wolf woman worm
        """.split()  # noqa: SIM905  (a list would take a line for each)
    )
    folder: ClassVar[str] = "cifar-100-python"
