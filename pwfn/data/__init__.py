"""Give a run its images: sources, splits, transforms, loaders; image libraries load only with images.

`pwfn.data.module.ImageDataModule` turns one of these into loaders.
"""

from pwfn.data.augment import Augment, Crop, CropFlip, NoAugment, TimmAugment
from pwfn.data.datasets.cifar import CIFAR10, CIFAR100
from pwfn.data.datasets.digits import Digits
from pwfn.data.datasets.image_folder import ImageFolder
from pwfn.data.datasets.imagenet import ImageNet
from pwfn.data.datasets.mnist import MNIST, FashionMNIST
from pwfn.data.datasets.synthetic import Synthetic
from pwfn.data.datasets.timm_dataset import TimmData
from pwfn.data.images import DataError, ImageSet
from pwfn.data.mix import Mix
from pwfn.data.spec import ImageData, Partition, Splits

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
