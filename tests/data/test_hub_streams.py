"""Streamed Hugging Face sets: each image once over ranks and workers; wrong names are said."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pwfn.data import DataError, TimmData
from pwfn.data.loading.stream_loader import Streamed, StreamLoader
from pwfn.data.streams import ImageStream
from tests.support.images.data import message
from tests.support.images.streamed import STEPS, epoch_loader, png, value_of, values


@pytest.fixture
def parquet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., TimmData]:
    """Gray images 0, 1, 2, ... in several parquet files, as most sets of the hub are kept."""
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    monkeypatch.setattr(datasets.config, "SLEEP_TIME_ON_THREADS_SHUTDOWN", 0, raising=False)  # else 5 s a pass
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


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("world_size", "workers"), [(1, 0), (1, 3), (2, 0), (2, 2), (3, 2), (4, 1)])
def test_a_streamed_set_is_seen_once_over_ranks_and_workers(
    parquet: Callable[..., TimmData], world_size: int, workers: int
) -> None:
    train, test = parquet("hfids", train_length=20).load()
    assert isinstance(train, ImageStream)
    assert isinstance(test, ImageStream)
    assert train.length == 20
    for stream, count, first in ((train, 20, 0), (test, 11, 20)):
        most = stream.most_workers(world_size)
        assert most is not None
        assert most >= 1
        loaders = [
            StreamLoader(Streamed(stream, STEPS, rank, world_size), int, batch_size=4, num_workers=min(workers, most))
            for rank in range(world_size)
        ]
        assert Counter(value for loader in loaders for value in values(loader)) == Counter(range(first, first + count))
    loaders = [epoch_loader(train, rank, world_size, 0, 20 // world_size) for rank in range(world_size)]
    trained = [value for loader in loaders for value in values(loader)]
    assert set(trained) <= set(range(20))
    assert trained != sorted(trained)
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
def test_wrong_names_in_a_hugging_face_set_are_said(
    parquet: Callable[..., TimmData], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    for changed, said in (
        ({"test_split": "validation"}, "validation: cannot be opened ("),
        ({"target_key": "fine_label"}, "has no column 'fine_label' (data.target_key), only image, label"),
        ({"input_key": "img"}, "has no column 'img' (data.input_key), only image, label"),
        ({"num_classes": 10}, "has 3 classes, data.num_classes is 10"),
        ({"name": f"{kind}/nowhere/at_all"}, "nowhere/at_all train: not on this machine, and http://127.0.0.1:9 does"),
    ):
        with pytest.raises(DataError) as error:
            parquet(kind, **changed).load()
        assert said in message(error), changed
