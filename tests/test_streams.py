"""Streamed images: over all ranks and workers a test sees each image once, and every rank trains equally long."""

from __future__ import annotations

import io
import json
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from PIL import Image

from pwfn.data import DataError, TimmData
from pwfn.data.module import ImageDataModule
from pwfn.data.spec import Partition
from pwfn.data.stream_loader import Streamed, StreamedEpoch, StreamLoader, stream_images_per_rank
from pwfn.data.streams import ImageStream, Part, Raw, TarStream
from pwfn.data.transforms import Steps
from tests.conftest import Compose
from tests.image_data import CONFIG, TINY, message


def png(value: int) -> bytes:
    """A picture of one grey value, by which it is known again."""
    content = io.BytesIO()
    Image.new("L", (2, 2), value).save(content, "PNG")
    return content.getvalue()


def value_of(image: Image.Image) -> int:
    return int(np.asarray(image)[0, 0].max())


def to_tensor(image: Image.Image) -> torch.Tensor:
    return torch.tensor([float(value_of(image))])


STEPS = Steps(to_tensor, None)


@dataclass
class Counting(ImageStream):
    """Images 0, 1, 2, ..., of which every part takes its share; shuffled by rotation."""

    count: int = 0

    def raw(self, part: Part, seed: int | None) -> Iterator[Raw]:
        order = range(self.count) if seed is None else np.random.default_rng(seed).permutation(self.count)
        for value in order[part.index :: part.count]:
            yield Raw(io.BytesIO(png(int(value))), int(value) % 2, f"image {value}")


def counting(count: int, length: int | None = None) -> Counting:
    return Counting("counting", 2, length or count, 10, count)


def values(loader: Any) -> list[int]:
    return [int(value) for images, _ in loader for value in images.flatten()]


def batches(loader: Any) -> list[int]:
    return [len(labels) for _, labels in loader]


# -------- loaders


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("world_size", [1, 3])
def test_a_test_sees_every_image_once(world_size: int, workers: int) -> None:
    seen: Counter[int] = Counter()
    for rank in range(world_size):
        loader = StreamLoader(
            Streamed(counting(23), STEPS, rank, world_size), lambda: 0, batch_size=4, num_workers=workers
        )
        once, again = values(loader), values(loader)
        assert once == again
        seen.update(once)
    assert seen == Counter(range(23))


def epoch_loader(stream: ImageStream, rank: int, world_size: int, workers: int, count: int, **changed: Any) -> Any:
    images = StreamedEpoch(stream, STEPS, rank, world_size, count=count, batch_size=4, seed=changed.get("seed", 0))
    return StreamLoader(images, lambda: changed.get("epoch", 0), batch_size=4, num_workers=workers)


@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize(
    ("length", "world_size", "sizes"), [(24, 1, [4] * 6), (22, 1, [4] * 5 + [2]), (22, 2, [4, 4, 3])]
)
def test_an_epoch_is_equally_long_on_every_rank(length: int, world_size: int, sizes: list[int], workers: int) -> None:
    stream = counting(length)
    count = stream_images_per_rank(stream, 1.0, world_size, 4)
    for rank in range(world_size):
        loader = epoch_loader(stream, rank, world_size, workers, count)
        assert len(loader) == len(sizes)
        assert sorted(batches(loader)) == sorted(sizes)


@pytest.mark.parametrize(("world_size", "workers"), [(1, 0), (1, 2), (2, 0), (2, 2)])
def test_an_epoch_without_a_remainder_sees_every_image_once(world_size: int, workers: int) -> None:
    loaders = [epoch_loader(counting(16), rank, world_size, workers, 16 // world_size) for rank in range(world_size)]
    assert Counter(value for loader in loaders for value in values(loader)) == Counter(range(16))


def test_the_order_is_a_function_of_seed_epoch_and_part() -> None:
    def order(seed: int, epoch: int, workers: int = 0) -> list[int]:
        return values(epoch_loader(counting(16), 0, 1, workers, 16, seed=seed, epoch=epoch))

    assert order(1, 2) == order(1, 2) and order(1, 2, workers=2) == order(1, 2, workers=2)
    assert len({tuple(order(seed, epoch)) for seed in (0, 1) for epoch in (0, 1)}) == 4
    loader = epoch_loader(counting(16), 0, 1, 2, 16)
    loader.epoch = iter(range(2)).__next__
    assert [values(loader), values(loader)] == [order(0, 0, 2), order(0, 1, 2)]  # workers hear of the new epoch


@pytest.mark.parametrize(("workers", "count"), [(0, 22), (2, 22), (2, 40)])
@pytest.mark.parametrize("skipped", [1, 2, 4])
def test_a_resumed_epoch_goes_on_with_the_next_batch(workers: int, count: int, skipped: int) -> None:
    """24 images, so that an epoch of 40 begins again; each part of the stream stays with the batches it had."""

    def loader() -> Any:
        return epoch_loader(counting(24), 0, 1, workers, count, epoch=3)

    whole = [images.flatten().tolist() for images, _ in loader()]
    resumed, other = loader(), loader()
    resumed.dataset.skip(3, skipped)
    other.dataset.skip(2, skipped)  # of another epoch
    assert [images.flatten().tolist() for images, _ in resumed] == whole[skipped:]
    assert [images.flatten().tolist() for images, _ in other] == whole
    assert len(resumed) == len(whole)


def test_a_part_with_too_few_images_begins_again_and_one_with_none_is_an_error() -> None:
    assert Counter(values(epoch_loader(counting(5), 0, 1, 0, 12))).most_common()[-1][1] == 2
    with pytest.raises(DataError) as error:
        values(epoch_loader(counting(1), 0, 1, 2, 12))
    assert message(error) == "counting: part 1 of 2 has no images; fewer data.num_workers"


@pytest.mark.parametrize(
    ("length", "share", "world_size", "count"),
    [(100, 1.0, 1, 100), (100, 0.07, 1, 7), (101, 1.0, 1, 101), (97, 1.0, 1, 96), (100, 0.05, 2, 3), (5, 1.0, 8, 1)],
)
def test_images_per_rank(length: int, share: float, world_size: int, count: int) -> None:
    """Rounded up, and a last batch of a single image is left out, but not the only one."""
    assert stream_images_per_rank(counting(1, length), share, world_size, 8 if length == 97 else 16) == count


def test_an_unknown_length_and_wrong_labels_are_said() -> None:
    with pytest.raises(DataError, match=r"^counting: does not say how many images it has; set data\.train_length$"):
        stream_images_per_rank(replace(counting(3), length=None), 1.0, 1, 4)
    with pytest.raises(DataError) as error:
        list(replace(counting(3), num_classes=1).images(Part()))
    assert message(error) == "image 1: has the label 1, data.num_classes = 1 allows 0 to 0"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("workers", [0, 2])
def test_lightning_runs_epochs_of_a_stream_anew_and_tests_all_of_it(
    workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Watcher(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(()))
            self.trained: list[list[int]] = []
            self.tested: list[int] = []

        def on_train_epoch_start(self) -> None:
            self.trained.append([])

        def training_step(self, batch: Any, index: int) -> torch.Tensor:
            self.trained[-1] += [round(v) for v in (batch[0].mean((1, 2, 3)) * 255).tolist()]
            return self.weight * batch[0].mean()

        def test_step(self, batch: Any, index: int) -> None:
            self.tested += [round(v) for v in (batch[0].mean((1, 2, 3)) * 255).tolist()]

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    plain = CONFIG | {"mean": (0.0,) * 3, "std": (1.0,) * 3}
    spec = replace(TINY, num_workers=workers, batch_size=4, eval_batch_size=4)
    monkeypatch.setattr(type(spec), "partition", lambda self: Partition(counting(24), None, counting(11)))
    data, watcher = ImageDataModule(spec, plain, 0), Watcher()
    quiet: Any = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = pl.Trainer(accelerator="cpu", max_epochs=2, enable_checkpointing=False, **quiet)
    trainer.fit(watcher, data)
    trainer.test(watcher, data, verbose=False)
    data.train_share = 0.5
    trainer.fit_loop.max_epochs = 3
    trainer.fit(watcher, data)
    assert [len(one) for one in watcher.trained] == [24, 24, 12]
    assert sorted(watcher.trained[0]) == sorted(watcher.trained[1]) == list(range(24))
    assert watcher.trained[0] != watcher.trained[1] and watcher.trained[2] != watcher.trained[0][:12]
    assert sorted(watcher.tested) == list(range(11))
    assert trainer.global_step == 6 + 6 + 3


# -------- WebDataset shards


def write_shards(folder: Path, sizes: tuple[int, ...] = (5, 5, 4), label: str = "cls") -> list[str]:
    """Grey images 0, 1, 2, ... in order, shard after shard; the label is the value modulo 3."""
    folder.mkdir(exist_ok=True)
    value, names = 0, []
    for shard, size in enumerate(sizes):
        names.append(f"train-{shard:04d}.tar")
        with tarfile.open(folder / names[-1], "w") as tar:
            for _ in range(size):
                text = str(value % 3) if label == "cls" else json.dumps({"label": value % 3})
                for ending, content in (("png", png(value)), (label, text.encode())):
                    info = tarfile.TarInfo(f"{value:06d}.{ending}")
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content))
                value += 1
    return [str(folder / name) for name in names]


def tar_stream(shards: list[str], label_key: str | None = None, **changed: Any) -> TarStream:
    return TarStream("wds/x train", 3, 14, changed.get("buffer", 4), shards, changed.get("keys", "jpg;png"), label_key)


@pytest.fixture
def webdataset() -> None:
    pytest.importorskip("webdataset", reason="webdataset is not installed")


def read(stream: ImageStream, parts: int, seed: int | None = None) -> list[list[tuple[int, int]]]:
    return [
        [(value_of(image), label) for image, label in stream.images(Part(worker=i, workers=parts), seed)]
        for i in range(parts)
    ]


@pytest.mark.usefixtures("webdataset")
@pytest.mark.parametrize("parts", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("seed", [None, 0, 1])
@pytest.mark.parametrize("label", ["cls", "json"])
def test_every_sample_of_the_shards_is_in_one_part(tmp_path: Path, parts: int, seed: int | None, label: str) -> None:
    stream = tar_stream(write_shards(tmp_path, label=label), "label" if label == "json" else None)
    found = read(stream, parts, seed)
    assert sorted(pair for part in found for pair in part) == [(value, value % 3) for value in range(14)]
    assert found == read(stream, parts, seed)
    if seed is None and parts == 1:
        assert found == [[(value, value % 3) for value in range(14)]]
    if seed is not None:
        assert found != read(stream, parts) and found != read(stream, parts, seed + 5)


@pytest.mark.usefixtures("webdataset")
def test_damaged_shards_and_samples_are_named(tmp_path: Path) -> None:
    (first, *_) = shards = write_shards(tmp_path)
    whole = Path(first).read_bytes()
    Path(first).write_bytes(whole[:5000])
    with pytest.raises(DataError) as error:
        read(tar_stream(shards), 1)
    assert message(error).startswith(
        "wds/x train: a shard cannot be read (unexpected end of data"
    ) and first in message(error)
    Path(first).write_bytes(b"no tar file" * 100)
    with pytest.raises(DataError, match="a shard cannot be read"):
        read(tar_stream(shards), 1)
    Path(first).write_bytes(whole.replace(png(1), b"\0" * len(png(1))))
    with pytest.raises(DataError) as error:
        read(tar_stream(shards), 1)
    assert message(error).startswith(f"{first}: 000001: not a readable image (")
    Path(first).write_bytes(whole)
    for stream, said in (
        (tar_stream(shards, keys="jpg"), f"{first}: 000000: has no jpg (data.input_key), only png, cls"),
        (tar_stream(shards, "label"), f"{first}: 000000: has no label, only png, cls"),
        (replace(tar_stream(shards), num_classes=2), "000002: has the label 2, data.num_classes = 2 allows 0 to 1"),
    ):
        with pytest.raises(DataError) as error:
            read(stream, 1)
        assert said in message(error)
    with pytest.raises(DataError, match=r"000000: its json has no klass \(data\.target_key\)"):
        read(tar_stream(write_shards(tmp_path / "json", label="json"), "klass"), 1)


def wds_set(folder: Path, **changed: Any) -> TimmData:
    named: dict[str, Any] = {
        "name": "wds/x",
        "root": str(folder),
        "num_classes": 3,
        "train_split": "train-{0000..0001}.tar|10",
        "test_split": "train-0002.tar",
    }
    return TimmData(**named | changed)


@pytest.mark.usefixtures("webdataset")
def test_shards_are_found_by_name_and_by_the_sets_info(tmp_path: Path) -> None:
    write_shards(tmp_path)
    train, test = wds_set(tmp_path).load()
    assert isinstance(train, TarStream) and isinstance(test, TarStream)
    assert (train.length, len(train.shards), len(test.shards)) == (10, 2, 1)
    assert read(test, 1) == [[(value, value % 3) for value in range(10, 14)]]
    assert wds_set(tmp_path, train_split="train-0000.tar", train_length=7).load().train.length == 7  # type: ignore[union-attr]
    assert wds_set(tmp_path, train_split="train-0000.tar").load().train.length is None  # type: ignore[union-attr]
    names = {"train": (["train-0000.tar", "train-0001.tar"], [5, 5]), "validation": (["train-0002.tar"], [4])}
    splits = {
        split: {"name": split, "num_samples": sum(sizes), "filenames": files, "shard_lengths": sizes}
        for split, (files, sizes) in names.items()
    }
    (tmp_path / "_info.json").write_text(json.dumps({"splits": splits}))
    train, test = wds_set(tmp_path, train_split="train", test_split="validation").load()
    assert (train.length, test.length) == (10, 4)  # type: ignore[union-attr]


@pytest.mark.usefixtures("webdataset")
def test_shards_that_are_not_there_are_said(tmp_path: Path) -> None:
    write_shards(tmp_path)
    with pytest.raises(DataError) as error:
        wds_set(tmp_path, train_split="train-{0000..0004}.tar|10").load()
    assert message(error).startswith(
        f"{tmp_path}/train-0003.tar: no such shard; missing are 2 of the 5 of wds/x train-"
    )
    with pytest.raises(DataError) as error:
        wds_set(tmp_path, train_split="train").load()
    assert "wds/x train: cannot be opened" in message(error) and "_info.json" in message(error)


@pytest.mark.slow
@pytest.mark.usefixtures("webdataset")
def test_a_whole_run_on_shards_is_evaluated_to_the_same_scores(composed: Compose, tmp_path: Path) -> None:
    from omegaconf import OmegaConf

    from pwfn import config
    from pwfn.run import run
    from pwfn.settings import TrainSettings
    from tests.evaluation import measured

    write_shards(tmp_path / "shards")
    cfg = composed(
        "experiment=smoke", "quiet=true", "logger=none", "pretrain.epochs=1", "schedule.fractions=[1.0]",
        "data=timm", "data.name=wds/x", f"data.root={tmp_path}/shards", "data.num_classes=3", "data.num_workers=2",
        "data.train_split='train-{0000..0001}.tar|10'", "data.test_split=train-0002.tar", "data.image_size=32",
        "data.batch_size=4", "data.eval_batch_size=1",
    )  # fmt: skip
    settings = config.load(TrainSettings, cfg)
    finished = run(settings, OmegaConf.to_container(cfg, resolve=True), tmp_path / "run", name="test")
    assert finished.records[-1].steps == 3  # ten images in batches of four
    again = measured(run=str(tmp_path / "run"), samples=2)
    assert again.at_mean["clustered"] == finished.records[-1].clustered


# -------- streamed Hugging Face sets


@pytest.fixture
def parquet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., TimmData]:
    """Grey images 0, 1, 2, ... in several parquet files, as most sets of the hub are kept."""
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    monkeypatch.setattr(datasets.config, "SLEEP_TIME_ON_THREADS_SHUTDOWN", 0)  # five seconds after every pass
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b", "c"])})
    value = 0
    for split, sizes in (("train", (5, 5, 5, 5)), ("test", (4, 3, 4))):
        for shard, size in enumerate(sizes):
            numbers = range(value, value + size)
            rows = {"image": [{"bytes": png(n), "path": None} for n in numbers], "label": [n % 3 for n in numbers]}
            name = f"{split}-{shard:05d}-of-{len(sizes):05d}.parquet"
            datasets.Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "set" / "data" / name)
            value += size

    def spec(kind: str, **changed: Any) -> TimmData:
        common: dict[str, Any] = {"num_classes": 3, "root": str(tmp_path / "cache"), "test_split": "test"}
        return TimmData(**{"name": f"{kind}/{tmp_path / 'set'}"} | common | changed)

    return spec


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("world_size", "workers"), [(1, 0), (1, 3), (2, 0), (2, 2), (3, 2), (4, 1)])
def test_a_streamed_set_is_seen_once_over_ranks_and_workers(
    parquet: Callable[..., TimmData], world_size: int, workers: int
) -> None:
    train, test = parquet("hfids", train_length=20).load()
    assert isinstance(train, ImageStream) and isinstance(test, ImageStream) and train.length == 20
    for stream, count, first in ((train, 20, 0), (test, 11, 20)):
        most = stream.most_workers(world_size)
        assert most is not None and most >= 1
        loaders = [
            StreamLoader(Streamed(stream, STEPS, rank, world_size), int, batch_size=4, num_workers=min(workers, most))
            for rank in range(world_size)
        ]
        assert Counter(value for loader in loaders for value in values(loader)) == Counter(range(first, first + count))
    loaders = [epoch_loader(train, rank, world_size, 0, 20 // world_size) for rank in range(world_size)]
    trained = [value for loader in loaders for value in values(loader)]
    assert set(trained) <= set(range(20)) and trained != sorted(trained)
    if world_size in (1, 2, 4):  # as many shards for each rank
        assert Counter(trained) == Counter(range(20))
    assert trained == [value for loader in loaders for value in values(loader)]


def test_the_same_set_not_streamed(parquet: Callable[..., TimmData]) -> None:
    train, test = parquet("hfds").load()
    assert train.labels.tolist() == [n % 3 for n in range(20)]  # type: ignore[union-attr]
    assert [value_of(test[index][0]) for index in range(len(test))] == list(range(20, 31))  # type: ignore[arg-type,index]
    partition = parquet("hfds", val_fraction=0.3, train_images=12).partition()
    assert [len(images) for images in partition] == [8, 4, 11]  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["hfds", "hfids"])
def test_wrong_names_in_a_hugging_face_set_are_said(parquet: Callable[..., TimmData], kind: str) -> None:
    for changed, said in (
        ({"test_split": "validation"}, "validation: cannot be opened ("),
        ({"target_key": "fine_label"}, "has no column 'fine_label' (data.target_key), only image, label"),
        ({"input_key": "img"}, "has no column 'img' (data.input_key), only image, label"),
        ({"num_classes": 10}, "has 3 classes, data.num_classes is 10"),
        ({"name": f"{kind}/nowhere/at_all"}, "nowhere/at_all train: not on this machine, and http://127.0.0.1:9 does"),
    ):
        with pytest.MonkeyPatch.context() as patch, pytest.raises(DataError) as error:
            patch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
            parquet(kind, **changed).load()
        assert said in message(error), changed
