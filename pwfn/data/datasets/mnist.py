"""Read MNIST and Fashion-MNIST: 60,000 training and 10,000 test images of 28 x 28 pixels, ten classes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from typing_extensions import override

from pwfn.data.datasets.idx import find_file, read_images
from pwfn.data.images import DataError
from pwfn.data.spec import ImageData, Splits
from pwfn.errors import one_line
from pwfn.value_kinds import FilePath


@dataclass(frozen=True, kw_only=True)
class MNIST(ImageData):
    """Read handwritten digits from IDX files in `root`, gzipped or not, or torchvision's layout."""

    channels: ClassVar[int] = 1
    num_classes: ClassVar[int] = 10
    class_names: ClassVar[tuple[str, ...]] = tuple("0123456789")
    # where a system package puts the files, and how it is installed
    system_folder: ClassVar[str | None] = None
    system_package: ClassVar[str | None] = None

    root: FilePath | None = None
    download: bool = False

    @property
    @override
    def known_images(self) -> int:
        return 60_000

    @override
    def rules(self) -> dict[str, tuple[bool, str]]:
        return {
            "root": (self.root is not None or not self.download, "a folder when download is true"),
            "download": (isinstance(self.download, bool), "true or false"),
        }

    def prepare(self) -> None:
        """Let torchvision download into `root`, if that is wanted and the files are not there.

        Raises:
            DataError: the download failed.
        """
        if not self.download or self.root is None or self._folder() is not None:
            return
        import torchvision.datasets

        try:
            getattr(torchvision.datasets, type(self).__name__)(self.root, download=True)
        except (OSError, RuntimeError) as error:  # no network, no room, a wrong checksum
            failed = f"{type(self).__name__}: the download into {self.root} failed"
            raise DataError(f"{failed} ({one_line(error, None)})") from error

    @override
    def load(self) -> Splits:
        folder = self._folder()
        if folder is None:
            raise DataError(self._missing())
        return Splits(read_images(folder, "train", self.num_classes), read_images(folder, "t10k", self.num_classes))

    def _folder(self) -> Path | None:
        """Find the first known folder with a file of training images."""
        if self.root is not None:
            candidates = [Path(self.root), Path(self.root) / type(self).__name__ / "raw"]
        else:
            candidates = [Path(self.system_folder)] if self.system_folder else []
        return next((folder for folder in candidates if find_file(folder, "train-images-idx3-ubyte")), None)

    def _missing(self) -> str:
        place = self.root or self.system_folder
        package = f"`apt-get install {self.system_package}` or " if self.system_package else ""
        root = "" if self.root else " data.root=<folder>"
        return (
            f"{type(self).__name__}: no train-images-idx3-ubyte[.gz] in {place or 'data.root, which is null'}; get the"
            f" images with data.download=true{root} (torchvision) or {package}data.root=<folder of the IDX files>"
        )


@dataclass(frozen=True, kw_only=True)
class FashionMNIST(MNIST):
    """Read clothes, which are harder than the digits. Debian's package is found by itself."""

    class_names: ClassVar[tuple[str, ...]] = (
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    )
    system_folder: ClassVar[str | None] = "/usr/share/datasets/fashion-mnist"
    system_package: ClassVar[str | None] = "dataset-fashion-mnist"
