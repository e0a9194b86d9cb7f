"""Which images a run uses. Light to import: image libraries are loaded when images are.

`pwfn.data.module.ImageDataModule` turns one of these into loaders.
"""

from pwfn.data.cifar import CIFAR10
from pwfn.data.digits import Digits
from pwfn.data.folder import ImageFolder
from pwfn.data.images import DataError, ImageSet
from pwfn.data.mnist import MNIST, FashionMNIST
from pwfn.data.spec import ImageData, Partition, Splits
from pwfn.data.synthetic import Synthetic

__all__ = [
    "CIFAR10",
    "MNIST",
    "DataError",
    "Digits",
    "FashionMNIST",
    "ImageData",
    "ImageFolder",
    "ImageSet",
    "Partition",
    "Splits",
    "Synthetic",
]
