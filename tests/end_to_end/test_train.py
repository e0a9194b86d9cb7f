"""train.py from one end to the other: what a run leaves is complete, true, and the same when it is run again."""

from __future__ import annotations

import csv
import json
import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from safetensors import safe_open
from safetensors.numpy import load_file
from scipy.stats import entropy

from pwfn.records.rounds import COLUMNS
from pwfn.run.start import Finished
from tests.support import oracles
from tests.support.documents import named_files
from tests.support.loggers.wandb_offline import find_runs, read_run
from tests.support.project import PROJECT
from tests.support.runs.run_files import FILES

SmallRun = Callable[..., Finished]


def quantized(folder: Path) -> np.ndarray:
    """All quantized weights of a saved network, without a line of pwfn."""
    return saved(folder, ".original")  # as torch's parametrize calls a weight


def saved(folder: Path, ending: str) -> np.ndarray:
    tensors = load_file(folder / "network.safetensors")
    return np.concatenate([value.ravel() for name, value in tensors.items() if name.endswith(ending)])


def records(folder: Path) -> list[dict[str, Any]]:
    return json.loads((folder / "rounds.json").read_text())


def clusters(folder: Path) -> list[dict[str, float]]:
    with (folder / "clusters.csv").open() as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


# one real run --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_smoke_leaves_what_is_promised(smoke: Path) -> None:
    folder = smoke / "run"
    assert {path.name for path in folder.iterdir()} >= set(FILES)
    assert not [path for path in folder.iterdir() if "unfinished" in path.name or path.name.endswith(".part")]
    assert (folder / "rounds.png").read_bytes()[:4] == (folder / "weights.png").read_bytes()[:4] == b"\x89PNG"
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert config["data"]["noise"] == 0.5
    assert config["model"]["name"] == "test_resnet.r160_in1k"
    assert "${" not in (folder / "config.yaml").read_text()
    assert {path.name for path in smoke.iterdir()} == {"run", "logs", "console.txt"}
    assert {path.name for path in folder.iterdir()} - named_files(PROJECT / "docs/files.md") == set()


@pytest.mark.slow
def test_smoke_fixes_every_weight_to_a_codebook_entry(smoke: Path) -> None:
    last, weights = records(smoke / "run")[-1], quantized(smoke / "run")
    assert last["fraction"] == 1.0
    assert (saved(smoke / "run", ".assignment") >= 0).all()
    values, counts = np.unique(weights, return_counts=True)
    assert last["unique_weights"] == last["codebook_size"] == len(values) < 300
    assert math.isclose(last["entropy_bits"], entropy(counts, base=2), rel_tol=1e-12)
    for value in values.tolist():  # each a sum of at most four powers of two from 2^-7 on
        steps = abs(value) * 2**7
        assert steps == int(steps)
        assert oracles.signed_digits(int(steps)) <= 4
    summary = json.loads((smoke / "run/summary.json").read_text())
    assert summary["final"] == last
    assert summary["run"]["weights"] == weights.size
    assert summary["rounds"] == 3
    rest = sum(summary["run"]["in_floating_point"].values())
    assert 0 < rest == summary["run"]["parameters"] - weights.size
    assert summary["top1_change"] == last["clustered/top1"] - summary["pretrained"]["top1"]


@pytest.mark.slow
def test_smoke_reports_the_same_numbers_everywhere(smoke: Path) -> None:
    rows = records(smoke / "run")
    assert [list(row) for row in rows] == [list(COLUMNS)] * 3
    with (smoke / "run/rounds.csv").open() as file:
        assert [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)] == rows
    (path,) = find_runs(smoke / "logs")
    run = read_run(path)
    history = [item for item in run.history if "fraction" in item]
    for row, item in zip(rows, history, strict=True):
        assert {key: item[key] for key in row} == row
    assert run.exit_code == 0
    assert run.project == "pwfn"
    assert run.config["data"]["noise"] == 0.5
    assert any("train/cross_entropy" in item for item in run.history)
    console = (smoke / "console.txt").read_text()
    assert f"{rows[-1]['entropy_bits']:.2f} bits each" in console
    assert f"{rows[-1]['clustered/top1']:.2f}" in console


@pytest.mark.slow
def test_smoke_clusters_add_up(smoke: Path) -> None:
    rows, by_round = clusters(smoke / "run"), Counter[int]()
    weights = quantized(smoke / "run")
    for row in rows:
        by_round[int(row["round"])] += int(row["count"])
    for record in records(smoke / "run"):
        fixed = by_round[record["round"]]
        assert fixed == math.ceil(record["fraction"] * weights.size)
        assert sum(1 for row in rows if row["round"] == record["round"]) == record["codebook_size"]
        shares = sum(record[f"order_{order}_share"] for order in range(5))
        assert math.isclose(shares, fixed / weights.size, rel_tol=1e-9)
    last = {row["value"]: row["count"] for row in rows if row["round"] == 2}
    assert last == {
        float(value): float(count) for value, count in zip(*np.unique(weights, return_counts=True), strict=True)
    }


@pytest.mark.slow
def test_smoke_records_the_sigmas_it_saves(smoke: Path) -> None:
    """`sigma_*` is said to be after clustering, so after the last round it is what the network file holds."""
    last = records(smoke / "run")[-1]
    sigma = np.maximum(saved(smoke / "run", ".sigma").astype(np.float64), 2.0**-30)
    assert math.isclose(last["sigma_mean"], sigma.mean(), rel_tol=1e-6)
    assert math.isclose(last["sigma_max"], sigma.max(), rel_tol=1e-6)


@pytest.mark.slow
def test_a_warning_about_the_coverage_is_shown_even_when_quiet(
    small_run: SmallRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small_run(tmp_path, "model.quantize.exclude=['fc.*','layer4.*']", "schedule=one_shot")
    out = capsys.readouterr().out
    assert "warning:" in out
    assert "% of the parameters are not quantized; the largest: layer4" in out.replace("\n", " ")
    rest = json.loads((tmp_path / "summary.json").read_text())["run"]["in_floating_point"]
    assert "excluded by configuration" in rest


# shrunk runs in this process -----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_same_seed_same_bits(small_run: SmallRun, tmp_path: Path) -> None:
    first, again, other = tmp_path / "first", tmp_path / "again", tmp_path / "other"
    for folder, seed in ((first, 1), (again, 1), (other, 2)):
        small_run(folder, f"seed={seed}")
    files = [(folder / "network.safetensors").read_bytes() for folder in (first, again, other)]
    assert files[0] == files[1] != files[2]
    timing = ("train_seconds", "cluster_seconds")
    numbers = [[{k: v for k, v in row.items() if k not in timing} for row in records(f)] for f in (first, again)]
    assert numbers[0] == numbers[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides",
    [
        ("schedule.training=alternate", "logger=csv"),
        ("sigma_join=allow_retraining", "label_smoothing=0.1"),
        ("optimizer.lr_schedule=cosine", "optimizer.warmup=0.5", "data.val_fraction=0.25"),
        ("optimizer=adamw", "regularizer=linear_on_grad", "prior=constant"),
        ("schedule=one_shot", "schedule.fractions=[1.0]"),
    ],
    ids=lambda overrides: overrides[0],
)
def test_variants_finish_with_a_codebook(small_run: SmallRun, tmp_path: Path, overrides: tuple[str, ...]) -> None:
    finished = small_run(tmp_path, *overrides)
    last = finished.records[-1]
    values = np.unique(quantized(tmp_path))
    assert last.fraction == 1.0
    assert last.unique_weights == last.codebook_size == len(values)
    assert (saved(tmp_path, ".retrain_sigma").any()) == ("sigma_join=allow_retraining" in overrides)
    if "logger=csv" in overrides:  # two fits a round: mu, then sigma
        with (tmp_path / "training/version_0/metrics.csv").open() as file:
            rows = list(csv.DictReader(file))
        steps = [int(row["step"]) for row in rows]
        assert steps == sorted(steps)  # one axis for what is logged in training and for the rounds
        logged = [row for row in rows if row["entropy_bits"]]
        assert [float(row["entropy_bits"]) for row in logged] == [one.entropy_bits for one in finished.records]
    if "schedule=one_shot" in overrides:
        assert last.epochs == 0
        assert last.steps == 2
        assert last.trained == finished.baseline


@pytest.mark.slow
def test_options_change_the_outcome(small_run: SmallRun, tmp_path: Path) -> None:
    """An option that were read but never used would give the plain run's bits."""
    options = [
        "label_smoothing=0.2",
        "optimizer.lr_schedule=cosine",
        "schedule.training=alternate",
        "sigma_join=mean_sigma",
    ]
    runs = {}
    for number, option in enumerate(["seed=0", *options]):
        small_run(tmp_path / str(number), option, "pretrain.epochs=0", "data.train_size=64", "model.pretrained=false")
        runs[option] = (tmp_path / str(number) / "network.safetensors").read_bytes()
    assert len(set(runs.values())) == len(runs)


@pytest.mark.slow
def test_alternate_training_trains_mu_without_sigma_first(small_run: SmallRun, tmp_path: Path) -> None:
    joint = small_run(tmp_path / "joint")
    alternate = small_run(tmp_path / "alternate", "schedule.training=alternate")
    pretraining = 2  # steps: 64 images in batches of 32
    assert alternate.records[-1].steps - pretraining == 2 * (joint.records[-1].steps - pretraining) == 8
    assert alternate.records[-1].epochs == 2 * joint.records[-1].epochs


@pytest.mark.slow
def test_no_logger_leaves_no_log(small_run: SmallRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    small_run(tmp_path / "run", "logger=none")
    assert {path.name for path in (tmp_path / "run").iterdir()} == set(FILES) - {"report.html"}
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.slow
def test_vision_transformer(small_run: SmallRun, tmp_path: Path) -> None:
    finished = small_run(
        tmp_path, "model=deit_tiny", "+model.args.depth=2", "data.train_size=32", "data.test_size=20",
        "schedule.fractions=[1.0]",
    )  # fmt: skip
    assert finished.records[-1].unique_weights == len(np.unique(quantized(tmp_path)))
    with safe_open(tmp_path / "network.safetensors", framework="np") as file:
        names = set(file.keys())
        assert file.metadata() == {"round": "0"}
    assert "pos_embed" in names  # 32 pixels in patches of 4, 64 of them, and the class token
    assert load_file(tmp_path / "network.safetensors")["pos_embed"].shape[1] == 65
