"""List the kinds of data sets that timm opens by name, and what each of them allows."""

from __future__ import annotations

# Beginnings of names, the package each needs beyond those of pwfn, and how that is installed.
KINDS = {
    "folder": ("", ""),
    "torch": ("", ""),
    "hfds": ("datasets", "pip install 'pwfn[huggingface]'"),
    "hfids": ("datasets", "pip install 'pwfn[huggingface]'"),
    "wds": ("webdataset", "pip install 'pwfn[shards]'"),
}
STREAMED = ("hfids", "wds")
TORCH_FILES = ("image_folder", "imagenet")  # torchvision's sets that list the path of each image
TORCH_SETS = (
    *("cifar10", "cifar100", "mnist", "kmnist", "fashion_mnist", "qmnist"),
    *("inaturalist", "places365"),
    *TORCH_FILES,
)
TORCH_ARRAYS = TORCH_SETS[:6]  # those that are no image files at all
SHARDS = ("; the shards are listed in data.root/_info.json, or named, with the number of their images: "
          "data.train_split='train-{0000..0099}.tar|100000'")  # fmt: skip
WDS_IMAGES = "jpg;jpeg;png;webp"  # endings of the files that are images


def file_rules(name: str, kind: str, rest: str, *, exif: bool, check: bool | str) -> dict[str, tuple[bool, str]]:
    """Return the rules, as `pwfn.errors.require` takes them, for what only sets of image files allow.

    Args:
        name: of the set, such as `torch/cifar10`.
        kind: its beginning, a key of `KINDS`.
        rest: what follows, in lower case.
        exif: whether images are to be turned.
        check: whether every file is to be looked at beforehand.
    """
    listed = kind == "folder" or (kind == "torch" and rest in TORCH_FILES)
    stored = kind != "torch" or rest not in TORCH_ARRAYS
    known = f"false: {name} does not list its files; folder, {' and '.join(f'torch/{one}' for one in TORCH_FILES)} do"
    return {
        "exif": (not exif or stored, f"false: the images of {name} are no files, and have no orientation"),
        "check": (not check or listed, known),
    }


def errors_of(kind: str) -> tuple[type[Exception], ...]:
    """Return what timm and the packages below it raise for a set of a kind that cannot be opened."""
    common = (OSError, RuntimeError, ValueError, LookupError, TypeError, AssertionError, ImportError)
    if KINDS[kind][0] != "datasets":
        return common
    from datasets.exceptions import DatasetsError

    return (*common, DatasetsError)


def choice_rules(
    kind: str, val_fraction: float | None, train_images: int | None, test_images: int | None
) -> dict[str, tuple[bool, str]]:
    """Return what is allowed of the settings that choose among images, which a streamed set cannot do.

    Args:
        kind: a key of `KINDS`, for the message.
        val_fraction: as in `ImageData`.
        train_images: likewise.
        test_images: likewise.

    Returns:
        Conditions on these fields, as `pwfn.errors.require` takes them.
    """
    why = f"because {kind}/ is streamed: no single image of it can be chosen"
    return {
        "val_fraction": (not val_fraction, f"0, {why}"),
        "train_images": (train_images is None, f"null, {why}"),
        "test_images": (test_images is None, f"null, {why}"),
    }


def no_choice(name: str) -> str:
    """Say why a streamed set has no validation images."""
    return f"data.name = {name!r}: is streamed, so no images can be held out; use a set that is not"
