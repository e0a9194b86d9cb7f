"""layers.csv, weights.json and provenance.json: against the saved networks, counted in the slow and obvious way."""

from __future__ import annotations

import csv
import json
import math
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy.stats import entropy

from pwfn.records.layer_table import LAYER_COLUMNS
from pwfn.records.provenance import PACKAGES, Provenance, commit
from pwfn.records.weight_histogram import BINS, WeightHistogram, as_fraction
from pwfn.run.start import Finished


def final_and_start(folder: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    owner, _, leaf = name.rpartition(".")
    now = load_file(folder / "network.safetensors")[f"{owner}.parametrizations.{leaf}.original"]
    return now.double().numpy().ravel(), load_file(folder / "pretrained.safetensors")[name].double().numpy().ravel()


def test_every_tensor_has_its_row(finished_run: Finished) -> None:
    folder = finished_run.folder
    with (folder / "layers.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == list(LAYER_COLUMNS)
    saved = [key for key in load_file(folder / "network.safetensors") if key.endswith(".original")]
    assert sorted(row["name"] for row in rows) == sorted(
        key.replace(".parametrizations.", ".").removesuffix(".original") for key in saved
    )
    assert {row["what"] for row in rows} == {"weight of Conv2d", "weight of Linear", "bias of Linear"}
    for row in rows:
        now, start = final_and_start(folder, row["name"])
        _, counts = np.unique(now, return_counts=True)
        assert (int(row["weights"]), int(row["unique"])) == (now.size, len(counts))
        assert float(row["entropy_bits"]) == pytest.approx(entropy(counts, base=2), abs=1e-12)
        assert float(row["zero_share"]) == (now == 0).mean()
        assert float(row["l2"]) == pytest.approx(np.linalg.norm(now - start) / np.linalg.norm(start), rel=1e-6)
        assert 0 < float(row["sigma_mean"]) < 1


def test_the_histogram_counts_every_weight_of_the_run(finished_run: Finished) -> None:
    folder = finished_run.folder
    spread = WeightHistogram(**json.loads((folder / "weights.json").read_text()))
    with (folder / "layers.csv").open() as file:
        pairs = [final_and_start(folder, row["name"]) for row in csv.DictReader(file)]
    now, start = (np.concatenate(part).astype(np.float32) for part in zip(*pairs, strict=True))
    values, counts = np.unique(now, return_counts=True)
    assert (spread.values, spread.counts, spread.distinct) == (values.tolist(), counts.tolist(), len(values))
    assert sum(spread.before) == spread.weights == now.size
    assert len(spread.before) == BINS
    edges = spread.edges
    for i in (0, 60, 119, 120, 180):
        assert spread.before[i] == ((start >= edges[i]) & (start < edges[i + 1])).sum()


def test_ticks_are_powers_of_two_of_both_signs() -> None:
    ticks = WeightHistogram.of(torch.randn(10_000, generator=torch.Generator().manual_seed(0)), torch.ones(3)).ticks()
    assert ticks == sorted(ticks)
    assert 0.0 in ticks
    assert [-t for t in ticks] == ticks[::-1]
    assert len(ticks) >= 5
    assert all(math.log2(t) == round(math.log2(t)) for t in ticks if t > 0)
    assert [as_fraction(t) for t in (-0.125, 0.0, 2.0)] == ["\N{MINUS SIGN}1/8", "0", "2"]


def git(folder: Path, *command: str) -> str:
    author = ["-c", "user.name=a", "-c", "user.email=a@b"]
    done = subprocess.run(["git", "-C", str(folder), *author, *command], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_commit_tells_whether_files_were_changed(tmp_path: Path) -> None:
    repository, elsewhere = tmp_path / "repository", tmp_path / "elsewhere"
    elsewhere.mkdir()
    git(tmp_path, "init", "-q", str(repository))
    assert commit(repository) is None
    assert commit(tmp_path / "missing") is None
    (repository / "a.txt").write_text("1")
    git(repository, "add", "a.txt")
    git(repository, "commit", "-q", "-m", "one")
    head = git(repository, "rev-parse", "HEAD")
    (repository / "untracked.txt").write_text("2")
    assert commit(repository) == head
    assert len(head) == 40
    (repository / "a.txt").write_text("3")
    assert commit(repository) == f"{head}-dirty"


def test_without_git_there_is_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert commit(Path(__file__).parent) is None


def test_a_resumed_run_keeps_what_it_was_started_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/somewhere/train.py", "seed=1", "name=two words"])
    first = Provenance.of_this_program()
    assert first.command == "train.py seed=1 'name=two words'"
    assert set(first.versions) == {"python", *PACKAGES}
    first.write(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train.py", "resume=there"])
    assert Provenance.of_run(tmp_path) == first
    (tmp_path / "provenance.json").write_text("{")
    assert Provenance.of_run(tmp_path).command == "train.py resume=there"


def test_the_summary_holds_the_provenance(finished_run: Finished) -> None:
    folder = finished_run.folder
    said = json.loads((folder / "provenance.json").read_text())
    assert said == asdict(Provenance.of_run(folder))
    assert said.items() <= json.loads((folder / "summary.json").read_text())["run"].items()
