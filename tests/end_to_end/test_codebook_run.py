"""Runs with other codebooks and rules, from training to what evaluation says of them."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torch import nn

import pwfn
from pwfn.bayesian.posterior import quantized_tensors
from pwfn.checkpoint import saved_networks
from pwfn.checkpoint.run_state import Place, RunState
from pwfn.clustering.cluster_result import ClusterResult
from pwfn.clustering.codebooks.fitted_codebook import FittedValues, KMeans
from pwfn.clustering.rounds.nearest_round import nearest_round
from pwfn.errors import RunError
from pwfn.evaluation.analyses import stop_after_round
from pwfn.evaluation.analyses.stop_after_round import cluster_to_the_end
from pwfn.records import files
from pwfn.records.rounds import read_records
from pwfn.run.start import Finished
from tests.support.evaluation import measured
from tests.support.runs.run_files import read_clusters

SmallRun = Callable[..., Finished]
PER_TENSOR = (
    "codebook=kmeans", "codebook.values=6", "codebook.scope=tensor", "clustering=greedy_bits",
    "artifact.every_round=true", "artifact.sigma=true",
)  # fmt: skip


@pytest.fixture(scope="module")
def per_tensor(small_run: SmallRun, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """A finished run with six values for each tensor. Read only."""
    return small_run(tmp_path_factory.mktemp("per_tensor"), *PER_TENSOR)


def tensors(folder: Path, file: str) -> dict[str, np.ndarray]:
    """The quantized weights of a network file, by name."""
    found = load_file(folder / file)
    return {name: value for name, value in found.items() if name.endswith(".original")}


@pytest.mark.slow
def test_every_tensor_ends_on_its_own_values_of_the_first_clustering(per_tensor: Finished) -> None:
    made = json.loads((per_tensor.folder / "codebook.json").read_text())
    found = tensors(per_tensor.folder, "network.safetensors")
    sizes = [t.mu.numel() for t in quantized_tensors(per_tensor.network)]
    assert made["sizes"] == sizes
    assert all(len(values) <= 6 for values in made["values"])
    for tensor, values in zip(quantized_tensors(per_tensor.network), made["values"], strict=True):
        assert set(tensor.mu.detach().flatten().tolist()) <= set(values)
    last, distinct = per_tensor.records[-1], [len(np.unique(value)) for value in found.values()]
    assert last.tensor_values == max(distinct) <= 6 < last.codebook_size == last.unique_weights
    shares = [np.unique(value, return_counts=True)[1] / value.size for value in found.values()]
    bits = sum(v.size * -(p * np.log2(p)).sum() for v, p in zip(found.values(), shares, strict=True)) / sum(sizes)
    assert last.tensor_entropy_bits == pytest.approx(bits, rel=1e-9)
    assert bits < last.entropy_bits
    assert saved_networks.read_values(per_tensor.folder) == FittedValues.from_dict(made)


@pytest.mark.slow
def test_what_has_no_order_is_empty_in_every_table(per_tensor: Finished) -> None:
    assert {row["order"] for row in read_clusters(per_tensor.folder)} == {None}
    assert all(record.order_share is None for record in read_records(per_tensor.folder))
    with (per_tensor.folder / "rounds.csv").open() as file:
        assert {row["order_1_share"] for row in csv.DictReader(file)} == {""}
    assert read_records(per_tensor.folder) == per_tensor.records


@pytest.mark.slow
def test_the_artifact_has_the_values_bit_for_bit_and_its_sizes_are_those_of_lists_for_each_tensor(
    per_tensor: Finished,
) -> None:
    loaded = pwfn.load(per_tensor.folder / "model.pwfn", posterior=True)
    pairs = zip(quantized_tensors(loaded), quantized_tensors(per_tensor.network), strict=True)
    assert all(torch.equal(a.mu, b.mu) for a, b in pairs)
    receipt = pwfn.describe(per_tensor.folder / "model.pwfn")["receipt"]
    found = tensors(per_tensor.folder, "network.safetensors").values()
    width, bits, weights = 0.0, 0.0, sum(value.size for value in found)
    for value in found:
        counts = np.unique(value, return_counts=True)[1]
        width += np.ceil(np.ceil(np.log2(len(counts))) * value.size / 8) + 4 * len(counts)
        bits += -(counts * np.log2(counts / value.size)).sum()
    rest = receipt["float32"] - 4 * weights
    assert receipt["tensor_fixed_width"] == rest + width
    assert receipt["tensor_entropy_bound"] == rest + np.ceil(bits / 8) < receipt["entropy_bound"]


@pytest.mark.slow
def test_evaluation_bills_multiplications_and_clusters_earlier_rounds_to_the_same_values(
    per_tensor: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: set[float] = set()

    def watched(network: nn.Module, *rest: Any) -> None:
        cluster_to_the_end(network, *rest)
        ended.update(value for tensor in quantized_tensors(network) for value in tensor.mu.flatten().tolist())

    monkeypatch.setattr(stop_after_round, "cluster_to_the_end", watched)
    measured(run=str(per_tensor.folder), frontier=True, bill=True, output=str(tmp_path))
    written = json.loads((tmp_path / "evaluation.json").read_text())
    total = written["bill"]["total"]
    assert total["left"] > 0.9 * (total["macs"] - total["skipped"])  # k-means values are no short sums of powers of two
    made = json.loads((per_tensor.folder / "codebook.json").read_text())["values"]
    assert ended
    assert ended <= {value for own in made for value in own}


@pytest.mark.slow
@pytest.mark.parametrize("codebook", ["pow2", "uniform", "kmeans"])
def test_at_once_without_training_every_weight_is_at_the_nearest_value(
    small_run: SmallRun, tmp_path: Path, codebook: str
) -> None:
    finished = small_run(
        tmp_path, f"codebook={codebook}", "clustering=nearest", "schedule=one_shot", "schedule.fractions=[1.0]"
    )
    last = finished.records[-1]
    assert last.epochs == 0
    assert last.trained == finished.baseline
    assert len(finished.records) == 1
    before = load_file(tmp_path / "pretrained.safetensors")
    after = tensors(tmp_path, "network.safetensors")
    values = np.array([row["value"] for row in read_clusters(tmp_path)], dtype=np.float32)
    made = saved_networks.read_values(tmp_path)
    if made is not None:
        (table,) = made.tables(0.0)
        values = table.numpy().astype(np.float32)
    for name, now in after.items():
        old = before[name.replace("parametrizations.", "").removesuffix(".original")].astype(np.float64)
        way = np.abs(old[..., None] - values.astype(np.float64)).min(-1)
        np.testing.assert_array_equal(np.abs(old - now.astype(np.float64)), way)


def test_a_checkpoint_keeps_the_values_for_the_rounds_to_come(tmp_path: Path) -> None:
    mu = torch.randn(50, generator=torch.Generator().manual_seed(0))
    result: ClusterResult = nearest_round(mu, mu.abs(), fraction=0.5, codebook=KMeans(4, "tensor"), sizes=[20, 30])
    state = RunState(place=Place(round=0))
    state.place.next_round(result.codebook, result.values)
    torch.save(state.as_dict(), tmp_path / "state.pt")
    again = RunState.from_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert again.place.values == result.values
    assert again.place.round == 1
    earlier = {key: value for key, value in state.place.as_dict().items() if key != "values"}
    assert Place.from_dict(earlier).values is None  # what a version without codebooks of this kind has written


def test_values_that_cannot_be_read_are_one_line(tmp_path: Path) -> None:
    for text in ("{", "{}", '{"values": 3, "sizes": [1], "around_zero": [0]}'):
        (tmp_path / files.VALUES).write_text(text)
        with pytest.raises(RunError, match=r"codebook\.json cannot be read: \w+Error [^\n]+$"):
            saved_networks.read_values(tmp_path)
