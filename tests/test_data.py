"""Images, splits, transforms and loaders. Everything is made in memory or in tmp_path; nothing is downloaded."""

from __future__ import annotations

import gzip
import random
import struct
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor

from pwfn.data import (
    MNIST,
    Augment,
    Crop,
    CropFlip,
    DataError,
    Digits,
    FashionMNIST,
    ImageData,
    NoAugment,
    Synthetic,
    TimmAugment,
)
from pwfn.data.feed import CACHE_BYTES, Cached, Transformed, feed
from pwfn.data.images import ArrayImages, stratified_split
from pwfn.data.module import ImageDataModule
from pwfn.data.samplers import EachOnce, NumberedShare, ShuffledShare
from pwfn.data.transforms import build_transforms
from pwfn.faults import InvalidValueError
from tests.image_data import CONFIG, TINY, message


def module(spec: ImageData, seed: int = 0) -> ImageDataModule:
    made = ImageDataModule(spec, CONFIG, seed)
    made.setup()
    return made


def rows(loader: Any) -> list[tuple[bytes, int]]:
    """Every (image, label) a loader yields, in order and comparable."""
    return [
        (image.numpy().tobytes(), int(label))
        for images, labels in loader
        for image, label in zip(images, labels, strict=True)
    ]


# -------- stratified_split


@pytest.mark.parametrize("count", [0, 1, 7, 100, 166, 167])
def test_stratified_split_takes_each_class_in_proportion(count: int) -> None:
    labels = np.repeat([0, 1, 2], [100, 50, 17])
    chosen, rest = stratified_split(labels, count, seed=3)
    assert len(chosen) == count
    assert sorted([*chosen, *rest]) == list(range(167))
    for label, size in enumerate([100, 50, 17]):
        assert abs((labels[chosen] == label).sum() - count * size / 167) < 1


def test_stratified_split_is_seeded() -> None:
    labels = np.arange(500) % 10
    first, again, other = (stratified_split(labels, 100, seed)[0] for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


# -------- specs


def test_importing_the_specs_loads_no_image_library() -> None:
    heavy = ("torchvision", "timm", "sklearn", "pytorch_lightning", "PIL")
    code = f"import sys, pwfn.data; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        ("batch_size", 0, "an integer from 1"),
        ("batch_size", True, "an integer from 1"),
        ("eval_batch_size", 1.5, "an integer from 1"),
        ("num_workers", -1, "an integer from 0"),
        ("image_size", 0, "an integer from 1, or null"),
        ("val_fraction", 1.0, "a number from 0 to below 1"),
        ("val_fraction", float("nan"), "a number from 0 to below 1"),
        ("split_seed", -1, "an integer from 0"),
        ("train_images", 0, "an integer from 1, or null"),
        ("test_images", "all", "an integer from 1, or null"),
    ],
)
def test_common_fields_are_checked(field: str, value: Any, allowed: str) -> None:
    with pytest.raises(InvalidValueError) as error:
        Digits(**{field: value})
    assert str(error.value) == f"{field} = {value!r}: must be {allowed}"


def test_all_faults_of_a_spec_are_reported_at_once() -> None:
    with pytest.raises(InvalidValueError) as error:
        Synthetic(batch_size=0, num_classes=1, channels=2, pixels=0, train_size=0, test_size=0, noise=-1.0)
    names = [fault.name for fault in error.value.faults]
    assert names == ["batch_size", "channels", "num_classes", "pixels", "train_size", "test_size", "noise"]


@pytest.mark.parametrize(
    "spec", [Digits(val_fraction=0.1), replace(TINY, val_fraction=0.25)], ids=["digits", "synthetic"]
)
def test_partition_is_disjoint_complete_stratified_and_the_same_at_every_load(spec: ImageData) -> None:
    first, again = spec.partition(), spec.partition()
    assert first.val is not None and again.val is not None
    for one, other in zip(first, again, strict=True):
        assert isinstance(one, ArrayImages) and isinstance(other, ArrayImages)
        assert np.array_equal(one.pixels, other.pixels) and np.array_equal(one.labels, other.labels)

    def contents(images: Any) -> list[tuple[bytes, int]]:
        return sorted(
            (pixels.tobytes(), int(label)) for pixels, label in zip(images.pixels, images.labels, strict=True)
        )

    train, test = spec.load()
    assert sorted(contents(first.train) + contents(first.val)) == contents(train)
    assert contents(first.test) == contents(test)
    shares = np.bincount(first.val.labels) / np.bincount(train.labels)
    assert np.abs(shares - spec.val_fraction).max() < 1 / np.bincount(train.labels).min()


def test_digits_are_split_without_loss() -> None:
    from sklearn.datasets import load_digits

    train, test = Digits().load()
    assert (len(train), len(test)) == (1438, 359)
    assert np.bincount(test.labels).min() >= 34
    both = np.concatenate([train.pixels, test.pixels]).reshape(1797, -1)  # type: ignore[attr-defined]
    original = np.round(load_digits().images * 255 / 16).astype(np.uint8).reshape(1797, -1)
    assert np.array_equal(both[np.lexsort(both.T)], original[np.lexsort(original.T)])
    other = Digits(split_seed=1).load().test
    assert not np.array_equal(test.pixels, other.pixels)  # type: ignore[attr-defined]


def test_subsets_are_stratified_and_seeded() -> None:
    limited = replace(TINY, train_images=20, test_images=10, val_fraction=0.5).partition()
    assert limited.val is not None
    assert np.bincount(limited.train.labels).tolist() == np.bincount(limited.val.labels).tolist() == [1] * 10
    assert np.bincount(limited.test.labels).tolist() == [1] * 10


def test_too_few_images_are_one_clear_error() -> None:
    with pytest.raises(DataError) as error:
        replace(TINY, train_images=61).partition()
    assert message(error) == "train_images = 61: Synthetic has only 60"
    with pytest.raises(DataError) as error:
        replace(TINY, val_fraction=0.001).partition()
    assert message(error) == "val_fraction = 0.001: takes 0 of 60 training images"


def test_synthetic_classes_share_a_pattern_over_both_splits() -> None:
    train, test = Synthetic(num_classes=5, channels=3).load()
    centres = np.stack([train.pixels[train.labels == label].mean(0) for label in range(5)])  # type: ignore[attr-defined]
    distances = ((test.pixels[:, None] - centres) ** 2).sum((2, 3, 4))  # type: ignore[attr-defined]
    assert (distances.argmin(1) == test.labels).all()


# -------- IDX files


def write_idx(folder: Path, zipped: bool = False) -> dict[str, bytes]:
    """A tiny Fashion-MNIST: 20 and 10 images of 28 x 28. Returns the content of each file, by its name."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    contents = {}
    for prefix, count in (("train", 20), ("t10k", 10)):
        pixels = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        contents[f"{prefix}-images-idx3-ubyte"] = struct.pack(">4I", 0x803, count, 28, 28) + pixels.tobytes()
        contents[f"{prefix}-labels-idx1-ubyte"] = struct.pack(">2I", 0x801, count) + labels.tobytes()
    for name, content in contents.items():
        (folder / f"{name}.gz").write_bytes(gzip.compress(content)) if zipped else (folder / name).write_bytes(content)
    return contents


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("below", ["", "FashionMNIST/raw"])
def test_idx_files_are_read_as_torchvision_reads_them(tmp_path: Path, below: str, zipped: bool) -> None:
    from torchvision.datasets.mnist import read_image_file, read_label_file

    write_idx(tmp_path / below, zipped)
    write_idx(tmp_path / "plain")
    train, test = FashionMNIST(root=str(tmp_path)).load()
    for images, prefix in ((train, "train"), (test, "t10k")):
        pixels = read_image_file(str(tmp_path / "plain" / f"{prefix}-images-idx3-ubyte"))
        labels = read_label_file(str(tmp_path / "plain" / f"{prefix}-labels-idx1-ubyte"))
        assert np.array_equal(images.pixels, pixels.numpy())  # type: ignore[attr-defined]
        assert np.array_equal(images.labels, labels.numpy())
    image, label = train[3]
    assert (image.mode, image.size, label) == ("L", (28, 28), 3)


def header(content: bytes, at: int, value: int) -> bytes:
    return content[: 4 * at] + struct.pack(">I", value) + content[4 * at + 4 :]


@pytest.mark.parametrize(
    ("name", "damage", "said"),
    [
        (
            "train-images-idx3-ubyte",
            lambda c: c[:-1],
            "has 15695 bytes, its header (20 x 28 x 28 values) asks for 15696",
        ),
        ("train-images-idx3-ubyte", lambda c: c + b"x", "has 15697 bytes"),
        ("train-images-idx3-ubyte", lambda c: c[:10], "has 10 bytes, too few for an IDX header"),
        ("train-images-idx3-ubyte", lambda c: b"", "has 0 bytes"),
        ("t10k-images-idx3-ubyte", lambda c: header(c, 0, 0x801), "begins with 0x00000801, not 0x00000803"),
        ("t10k-images-idx3-ubyte", lambda c: header(c, 1, 2**32 - 1), "4294967295 x 28 x 28 values"),
        ("t10k-labels-idx1-ubyte", lambda c: c[:-1] + b"\x0a", "has the label 10, the last class is 9"),
        ("t10k-labels-idx1-ubyte", lambda c: header(c, 1, 9)[:-1], "has 9 labels for the 10 images"),
        ("t10k-labels-idx1-ubyte", lambda c: header(c, 1, 0)[:8], "0 values"),
    ],
)
def test_damaged_idx_files_are_named(tmp_path: Path, name: str, damage: Callable[[bytes], bytes], said: str) -> None:
    contents = write_idx(tmp_path)
    (tmp_path / name).write_bytes(damage(contents[name]))
    with pytest.raises(DataError) as error:
        FashionMNIST(root=str(tmp_path)).load()
    assert message(error).startswith(str(tmp_path / name)) and said in message(error)


@pytest.mark.parametrize(
    "damage", [lambda c: c[: len(c) // 2], lambda c: b"no gzip", lambda c: c[:20] + b"\xff" * 9 + c[29:]]
)
def test_damaged_gzip_files_are_named(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    write_idx(tmp_path, zipped=True)
    path = tmp_path / "train-labels-idx1-ubyte.gz"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError) as error:
        FashionMNIST(root=str(tmp_path)).load()
    assert message(error).startswith(f"{path}: cannot be read")


def test_a_missing_idx_file_is_named(tmp_path: Path) -> None:
    write_idx(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError) as error:
        FashionMNIST(root=str(tmp_path)).load()
    assert message(error) == f"{tmp_path}/t10k-labels-idx1-ubyte: missing (nor is there a t10k-labels-idx1-ubyte.gz)"


def test_a_missing_set_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FashionMNIST, "system_folder", str(tmp_path / "nowhere"))
    for spec in (FashionMNIST(), FashionMNIST(root=str(tmp_path))):
        with pytest.raises(DataError) as error:
            spec.load()
        text = message(error)
        assert "data.download=true" in text and "data.root=<folder of the IDX files>" in text
        assert "apt-get install dataset-fashion-mnist" in text
        assert (spec.root or "nowhere") in text
    with pytest.raises(DataError) as error:
        MNIST().load()
    assert "data.download=true data.root=<folder>" in message(error) and "apt-get" not in message(error)


def test_download_needs_a_folder_and_happens_only_if_files_are_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torchvision.datasets

    with pytest.raises(InvalidValueError, match="root = None: must be a folder when download is true"):
        FashionMNIST(download=True)

    asked = []

    def refuse(root: str, download: bool) -> None:
        asked.append(root)
        raise OSError("no\nnetwork")

    monkeypatch.setattr(torchvision.datasets, "FashionMNIST", refuse)
    spec = FashionMNIST(root=str(tmp_path), download=True)
    with pytest.raises(DataError) as error:
        ImageDataModule(spec, CONFIG, 0).setup()
    assert message(error) == f"FashionMNIST: the download into {tmp_path} failed (no network)"
    write_idx(tmp_path)
    spec.prepare()
    assert asked == [str(tmp_path)]


@pytest.mark.skipif(not Path(str(FashionMNIST.system_folder)).is_dir(), reason="dataset-fashion-mnist is not installed")
def test_debians_fashion_mnist_is_found() -> None:
    train, test = FashionMNIST().load()
    assert np.bincount(train.labels).tolist() == [6000] * 10
    assert np.bincount(test.labels).tolist() == [1000] * 10
    assert train.pixels.shape == (60000, 28, 28)  # type: ignore[attr-defined]


# -------- samplers


def test_order_changes_with_epoch_and_seed_and_reproduces() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        sampler = ShuffledShare(50, seed)
        sampler.set_epoch(epoch)
        return list(sampler)

    orders = [order(seed, epoch) for seed in range(3) for epoch in range(3)]
    assert all(sorted(one) == list(range(50)) for one in orders)
    assert len({tuple(one) for one in orders}) == 9
    assert order(2, 1) == orders[7]


@pytest.mark.parametrize(("share", "used"), [(1.0, 100), (0.05, 5), (0.07, 7), (0.071, 8), (0.001, 1)])
def test_share_is_the_beginning_of_the_whole_order(share: float, used: int) -> None:
    assert list(ShuffledShare(100, 4, share)) == list(ShuffledShare(100, 4))[:used]


@pytest.mark.parametrize("count", [1, 2, 7, 8])
def test_ranks_share_the_training_images(count: int) -> None:
    ranks = [list(ShuffledShare(count, 0, rank=rank, world_size=2)) for rank in range(2)]
    assert len(ranks[0]) == len(ranks[1]) == len(ShuffledShare(count, 0, rank=0, world_size=2)) == (count + 1) // 2
    assert set(ranks[0]) | set(ranks[1]) == set(range(count))


def test_a_resumed_epoch_passes_over_what_it_has_seen() -> None:
    whole, resumed = ShuffledShare(20, 1, rank=1, world_size=2), ShuffledShare(20, 1, rank=1, world_size=2)
    resumed.skip(3, 4)
    for epoch, seen in ((3, 4), (4, 0), (2, 0)):
        whole.set_epoch(epoch)
        resumed.set_epoch(epoch)
        assert list(resumed) == list(whole)[seen:] and len(resumed) == len(whole) == 10


def test_numbers_name_the_image_and_the_epoch() -> None:
    plain, numbered = ShuffledShare(7, 0), NumberedShare(7, 0)
    for epoch in (0, 2):
        plain.set_epoch(epoch)
        numbered.set_epoch(epoch)
        assert [(number // 7, number % 7) for number in numbered] == [(epoch, index) for index in plain]


@pytest.mark.parametrize("count", [0, 1, 7, 8])
def test_each_test_image_is_seen_once_over_the_ranks(count: int) -> None:
    ranks = [EachOnce(count, rank, 2) for rank in range(2)]
    assert sorted([*ranks[0], *ranks[1]]) == list(range(count))
    assert sum(map(len, ranks)) == count


# -------- module


@pytest.mark.parametrize("augment", [NoAugment(), CropFlip()])
@pytest.mark.parametrize("spec", [TINY, Digits(image_size=16, test_images=50)], ids=["synthetic", "digits"])
def test_keeping_tensors_changes_no_bit(spec: ImageData, augment: Augment) -> None:
    spec = replace(spec, augment=augment)
    steps = build_transforms(spec, CONFIG, 1)[0]
    images = spec.load().test
    kept, fresh = feed(images, steps, CACHE_BYTES), feed(images, steps, cache_bytes=0)
    assert isinstance(kept, Cached) and isinstance(fresh, Transformed) and len(kept) == len(fresh)
    order = list(range(len(images)))[::-1]
    tensors, labels = kept.__getitems__(order)
    singles = [fresh[index] for index in order]
    items = [kept[index] for index in order]
    assert torch.equal(tensors, torch.stack([image for image, _ in singles]))
    assert torch.equal(tensors, torch.stack([image for image, _ in items]))
    assert labels.tolist() == [label for _, label in singles] == [label for _, label in items]


@pytest.mark.parametrize("augment", [CropFlip(), TimmAugment(auto_augment="rand-m9-mstd0.5-inc1", re_prob=0.5)])
def test_augmentation_is_a_function_of_seed_epoch_and_image(augment: Augment) -> None:
    """Neither workers, nor other draws, nor a resumed epoch change it; and it leaves the streams of others alone."""
    spec = replace(TINY, augment=augment, batch_size=8)

    def epoch(number: int, seed: int = 0, **changed: int) -> list[torch.Tensor]:
        loader = module(replace(spec, **changed), seed).train_dataloader()
        loader.sampler.set_epoch(number)
        return [images for images, _ in loader]

    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    once = epoch(1)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before[1:]
    torch.rand(3)
    random.random()
    for again in (epoch(1), epoch(1, num_workers=2)):
        assert all(torch.equal(*pair) for pair in zip(once, again, strict=True))
    data = module(spec)
    data.batches_done = 2  # of epoch 0, as far as a module without a trainer knows
    rest = [images for images, _ in data.train_dataloader()]
    assert all(torch.equal(*pair) for pair in zip(epoch(0)[2:], rest, strict=True))
    image = spec.partition().train.pick(np.array([3]))
    steps = build_transforms(spec, CONFIG, 1)[0]
    draws = [feed(image, steps, CACHE_BYTES, seed)[number][0] for seed in (0, 1) for number in range(4)]
    assert len({draw.numpy().tobytes() for draw in draws}) > 4


def test_only_small_sets_with_a_fixed_part_are_kept() -> None:
    images = TINY.load().train
    fixed = build_transforms(TINY, CONFIG, 1)[0]
    size = 60 * 16 * 16 * 4
    assert isinstance(feed(images, fixed, cache_bytes=size + 1), Cached)
    assert isinstance(feed(images, fixed, cache_bytes=size), Transformed)
    random = build_transforms(replace(TINY, augment=TimmAugment()), CONFIG, 1)[0]
    assert isinstance(feed(images, random, CACHE_BYTES), Transformed)


def test_loaders_yield_every_image_with_the_right_transform() -> None:
    data = module(replace(TINY, val_fraction=0.2, augment=Crop()))
    assert data.partition is not None and data.partition.val is not None
    for loader, images in ((data.val_dataloader(), data.partition.val), (data.test_dataloader(), data.partition.test)):
        expected = [
            (data.eval_steps(image).numpy().tobytes(), label)
            for image, label in map(images.__getitem__, range(len(images)))
        ]
        assert rows(loader) == expected == rows(loader)
    assert sum(len(labels) for _, labels in data.train_dataloader()) == 48
    assert module(TINY).val_dataloader() == []


def test_setup_loads_once(monkeypatch: pytest.MonkeyPatch) -> None:
    data = module(TINY)
    first = data.partition, rows(data.test_dataloader())
    monkeypatch.setattr(Synthetic, "load", lambda self: pytest.fail("loaded again"))
    for stage in ("fit", "test", None):
        data.setup(stage)
    assert data.partition is first[0] and rows(data.test_dataloader()) == first[1]


@pytest.mark.parametrize("augment", [NoAugment(), TimmAugment()])
def test_training_order_depends_on_seed_and_epoch_not_on_workers(augment: Augment) -> None:
    def labels(seed: int, workers: int, epoch: int) -> list[int]:
        loader = module(replace(TINY, augment=augment, num_workers=workers), seed).train_dataloader()
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        return [int(label) for _, batch in loader for label in batch]

    assert labels(1, 0, 1) == labels(1, 2, 1)
    assert labels(1, 0, 1) != labels(1, 0, 2)
    assert labels(1, 0, 1) != labels(2, 0, 1)


def test_loaders_leave_the_global_stream_alone() -> None:
    data = module(replace(TINY, val_fraction=0.2))
    torch.manual_seed(9)
    expected = torch.rand(1)
    torch.manual_seed(9)
    for loader in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader()):
        rows(loader)
    assert torch.equal(torch.rand(1), expected)


def test_train_share_may_be_set_between_fits() -> None:
    data = module(TINY)
    whole = rows(data.train_dataloader())
    data.train_share = 0.31
    assert rows(data.train_dataloader()) == whole[:19]
    data.train_share = 0.0
    with pytest.raises(InvalidValueError, match=r"train_share = 0.0: must be a number above 0 to 1"):
        data.train_dataloader()
    with pytest.raises(InvalidValueError, match="seed = -1: must be an integer from 0"):
        ImageDataModule(TINY, CONFIG, -1)


@pytest.mark.parametrize(("images", "batches"), [(33, [16, 16]), (34, [16, 16, 2]), (32, [16, 16]), (1, [1])])
def test_a_last_batch_of_one_image_is_left_out_of_training(images: int, batches: list[int]) -> None:
    data = module(replace(TINY, train_images=images, test_size=17))
    assert [len(labels) for _, labels in data.train_dataloader()] == batches
    assert [len(labels) for _, labels in data.test_dataloader()] == [8, 8, 1]


def test_ranks_see_every_image(monkeypatch: pytest.MonkeyPatch) -> None:
    data = module(replace(TINY, train_images=51, val_fraction=0.2))
    seen: dict[str, list[Any]] = {"train": [], "val": [], "test": []}
    lengths: dict[str, list[int]] = {"train": [], "val": [], "test": []}
    for rank in range(2):
        monkeypatch.setattr("pwfn.data.module.rank_and_world_size", lambda rank=rank: (rank, 2))
        loaders = {"train": data.train_dataloader(), "val": data.val_dataloader(), "test": data.test_dataloader()}
        for name, loader in loaders.items():
            found = rows(loader)
            seen[name] += found
            lengths[name].append(len(found))
    assert lengths == {"train": [21, 21], "val": [5, 5], "test": [12, 11]}
    assert data.partition is not None
    for name, images in data.partition._asdict().items():
        assert len(set(seen[name])) == len(images)


class Watcher(pl.LightningModule):
    """Trains one number and notes the first labels of every epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.first: list[tuple[int, ...]] = []
        self.batches = 0

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        self.batches += 1
        if index == 0:
            self.first.append(tuple(batch[1].tolist()))
        return self.weight * batch[0].mean()

    def test_step(self, batch: tuple[Tensor, Tensor], index: int) -> None: ...

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def trainer(epochs: int) -> pl.Trainer:
    return pl.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        use_distributed_sampler=False,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("workers", "augment"), [(0, NoAugment()), (1, Crop())])
def test_lightning_changes_the_order_every_epoch_and_a_resumed_fit_continues_it(
    tmp_path: Path, workers: int, augment: Augment
) -> None:
    spec = replace(TINY, num_workers=workers, augment=augment, train_images=48)
    data, watcher, fits = ImageDataModule(spec, CONFIG, 2), Watcher(), trainer(2)
    data.train_share = 0.5
    fits.fit(watcher, data)
    assert watcher.batches == 2 * 2
    fits.test(watcher, data, verbose=False)
    data.train_share = 1.0
    fits.save_checkpoint(tmp_path / "two.ckpt")
    fits.fit_loop.max_epochs = 4
    fits.fit(watcher, data)
    assert watcher.batches == 2 * 2 + 2 * 3
    assert len(set(watcher.first)) == 4

    resumed = Watcher()
    trainer(4).fit(resumed, ImageDataModule(spec, CONFIG, 2), ckpt_path=tmp_path / "two.ckpt")
    assert resumed.first == watcher.first[2:]
