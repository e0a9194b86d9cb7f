"""WebDataset shards: every sample in one part, damage is named, a whole run on them is evaluated to the same scores."""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pwfn.data import DataError, TimmData
from pwfn.data.streams import ImageStream, Part, TarStream
from tests.support.images.data import message
from tests.support.images.streamed import png, value_of
from tests.support.project import Compose


def write_shards(folder: Path, sizes: tuple[int, ...] = (5, 5, 4), label: str = "cls") -> list[str]:
    """Gray images 0, 1, 2, ... in order, shard after shard; the label is the value modulo 3."""
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
        assert found != read(stream, parts)
        assert found != read(stream, parts, seed + 5)


@pytest.mark.usefixtures("webdataset")
def test_damaged_shards_and_samples_are_named(tmp_path: Path) -> None:
    (first, *_) = shards = write_shards(tmp_path)
    whole = Path(first).read_bytes()
    Path(first).write_bytes(whole[:5000])
    with pytest.raises(DataError) as error:
        read(tar_stream(shards), 1)
    assert message(error).startswith("wds/x train: a shard cannot be read (unexpected end of data")
    assert first in message(error)
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
    assert isinstance(train, TarStream)
    assert isinstance(test, TarStream)
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
    assert "wds/x train: cannot be opened" in message(error)
    assert "_info.json" in message(error)


@pytest.mark.slow
@pytest.mark.usefixtures("webdataset")
def test_a_whole_run_on_shards_is_evaluated_to_the_same_scores(composed: Compose, tmp_path: Path) -> None:
    from omegaconf import OmegaConf

    from pwfn.config import build
    from pwfn.run.settings import TrainSettings
    from pwfn.run.start import run
    from tests.support.evaluation import measured

    write_shards(tmp_path / "shards")
    cfg = composed(
        "experiment=smoke", "quiet=true", "logger=none", "pretrain.epochs=1", "schedule.fractions=[1.0]",
        "data=timm", "data.name=wds/x", f"data.root={tmp_path}/shards", "data.num_classes=3", "data.num_workers=2",
        "data.train_split='train-{0000..0001}.tar|10'", "data.test_split=train-0002.tar", "data.image_size=32",
        "data.batch_size=4", "data.eval_batch_size=1",
    )  # fmt: skip
    settings = build.load(TrainSettings, cfg)
    finished = run(settings, OmegaConf.to_container(cfg, resolve=True), tmp_path / "run", name="test")
    assert finished.records[-1].steps == 2 * 3  # ten images in batches of four, in the pretraining and in the round
    again = measured(run=str(tmp_path / "run"), samples=2)
    assert again.at_mean["clustered"] == finished.records[-1].clustered
