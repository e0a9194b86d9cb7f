"""Which images a run uses. Light to import: image libraries are loaded when images are.

`pwfn.data.module.ImageDataModule` turns one of these into loaders.
"""

from pwfn.data.augment import Augment, Crop, CropFlip, NoAugment, TimmAugment
from pwfn.data.by_name import TimmData
from pwfn.data.cifar import CIFAR10, CIFAR100
from pwfn.data.digits import Digits
from pwfn.data.folder import ImageFolder, ImageNet
from pwfn.data.images import DataError, ImageSet
from pwfn.data.mix import Mix
from pwfn.data.mnist import MNIST, FashionMNIST
from pwfn.data.spec import ImageData, Partition, Splits
from pwfn.data.synthetic import Synthetic

__all__ = [
    "CIFAR10",
    "CIFAR100",
    "MNIST",
    "Augment",
    "Crop",
    "CropFlip",
    "DataError",
    "Digits",
    "FashionMNIST",
    "ImageData",
    "ImageFolder",
    "ImageNet",
    "ImageSet",
    "Mix",
    "NoAugment",
    "Partition",
    "Splits",
    "Synthetic",
    "TimmAugment",
    "TimmData",
]
