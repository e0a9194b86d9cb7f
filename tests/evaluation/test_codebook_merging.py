"""Codebook surgery against lists of single weights, and a pruned network that is measured, written and read again."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.image import imread
from torch import nn

import pwfn
from pwfn.bayesian.posterior import quantized_tensors, to_bayesian
from pwfn.data import Synthetic
from pwfn.errors import RunError
from pwfn.evaluation.analyses.codebook.merging import apply_merges, merges_down_to, usage
from pwfn.evaluation.settings import CodebookSpec, NoiseLevels, PruneCodebook
from pwfn.run.start import Finished
from tests.support.clustered import clustered
from tests.support.evaluation import measured, settings

IMAGES = Synthetic(
    channels=1, num_classes=10, pixels=32, train_size=64, test_size=60, noise=0.5, batch_size=32, image_size=32
)


def shared(seed: int = 0) -> nn.Module:
    """A Bayesian network whose few weights share eleven values, fixed, each with a sigma of its own."""
    generator = torch.Generator().manual_seed(seed)
    network = nn.Sequential(nn.Linear(9, 7), nn.ReLU(), nn.Linear(7, 3))
    values = torch.cat([torch.arange(-4, 5) / 8, torch.tensor([1.0, 1.75])])
    to_bayesian(network)
    with torch.no_grad():
        for tensor in quantized_tensors(network):
            index = (11 * torch.rand(tensor.mu.shape, generator=generator) ** 1.5).long()
            tensor.mu.copy_(values[index])
            tensor.gaussian.sigma.copy_(10 ** (-4 * torch.rand(tensor.mu.shape, generator=generator)))
            tensor.gaussian.assignment.copy_(index)
        tensor.gaussian.sigma[0] = 0.0  # as std_mu leaves it where all members were the entry before
    return network


def naive_merges(network: nn.Module, max_size: int, in_sigmas: bool) -> list[tuple[float, float, int, float]]:
    """Weight by weight: (entry, goal, weights, cost) until `max_size` entries are left."""
    weights = [
        (mu, max(sigma, 2.0**-20) if in_sigmas else 1.0)
        for tensor in quantized_tensors(network)
        for mu, sigma in zip(tensor.mu.flatten().tolist(), tensor.gaussian.sigma.flatten().tolist(), strict=True)
    ]
    done = []
    while len(entries := sorted({mu for mu, _ in weights})) > max_size:
        best = None
        for place, entry in enumerate(entries):
            neighbors = entries[max(place - 1, 0) : place] + entries[place + 1 : place + 2]
            goal = min(neighbors, key=lambda value: abs(value - entry))
            members = [sigma for mu, sigma in weights if mu == entry]
            cost = sum(abs(goal - entry) / sigma for sigma in members)
            if best is None or cost < best[3]:
                best = (entry, goal, len(members), cost)
        assert best is not None
        done.append(best)
        weights = [(best[1] if mu == best[0] else mu, sigma) for mu, sigma in weights]
    return done


@pytest.mark.parametrize("in_sigmas", [True, False])
def test_merges_are_those_of_single_weights(in_sigmas: bool) -> None:
    network = shared()
    used = usage(network, in_sigmas=in_sigmas)
    merges = merges_down_to(used, 3)
    expected = naive_merges(network, 3, in_sigmas)
    assert len(merges) == 8
    for merge, (value, into, weights, cost) in zip(merges, expected, strict=True):
        assert (merge.value, merge.into, merge.weights) == (value, into, weights)
        assert merge.cost == pytest.approx(cost, rel=1e-6)  # sigmas are float32


def test_usage_is_counted_tensor_by_tensor() -> None:
    network = shared()
    used = usage(network, in_sigmas=False)
    assert used.layers == ["0.weight", "0.bias", "2.weight", "2.bias"]
    for row, tensor in zip(used.counts, quantized_tensors(network), strict=True):
        values = tensor.mu.flatten().tolist()
        assert row.tolist() == [values.count(value) for value in used.values.tolist()]
    assert used.totals.sum() == 9 * 7 + 7 + 7 * 3 + 3


def test_the_merged_network_has_the_entries_that_are_left() -> None:
    network = shared()
    before = [tensor.mu.detach().clone() for tensor in quantized_tensors(network)]
    used = usage(network, in_sigmas=True)
    merges = merges_down_to(used, 4)
    apply_merges(network, used, merges)
    left = sorted(set(used.values.tolist()) - {merge.value for merge in merges})
    assert len(left) == 4
    goal = {value: value for value in used.values.tolist()}
    for merge in merges:
        goal = {value: merge.into if present == merge.value else present for value, present in goal.items()}
    for tensor, old in zip(quantized_tensors(network), before, strict=True):
        assert tensor.mu.flatten().tolist() == [goal[value] for value in old.flatten().tolist()]
        entries = torch.tensor(left)[tensor.gaussian.assignment.long()]
        assert torch.equal(entries, tensor.mu)
    assert merges_down_to(used, 100) == []
    assert len(merges_down_to(used, 1)) == 10


def test_a_network_that_is_not_clustered_is_refused() -> None:
    with pytest.raises(RunError, match="distinct values: it is not clustered to the end"):
        usage(clustered("test_resnet", fraction=0.3), in_sigmas=True)


@pytest.mark.slow
def test_a_pruned_run_is_measured_and_written(finished: Finished, tmp_path: Path) -> None:
    entries = finished.records[-1].codebook_size
    again = measured(
        run=str(finished.folder),
        codebook=CodebookSpec(True, 10, "sigma"),
        prune_codebook=PruneCodebook(entries - 20),
        output=str(tmp_path),
    )
    assert again.row("pruned", "mean").figures["nll"] != again.row("clustered", "mean").figures["nll"]
    assert again.at_mean["clustered"] == finished.records[-1].clustered
    written = json.loads((tmp_path / "evaluation.json").read_text())
    assert written["prune_codebook"]["entries"] == entries - 20 == len(np.unique(all_weights(tmp_path / "pruned.pwfn")))
    assert len(written["prune_codebook"]["merges"]) == 20
    assert written["codebook"]["entries"] == entries
    # the new artifact alone gives the very scores of the pruned network
    alone = measured(artifact=str(tmp_path / "pruned.pwfn"), data=IMAGES, output=str(tmp_path / "alone"))
    assert alone.at_mean["clustered"] == again.at_mean["pruned"]
    assert json.loads((tmp_path / "alone/evaluation.json").read_text())["recorded"] == {}

    rows = list(csv.DictReader((tmp_path / "codebook.csv").open()))
    values, counts = np.unique(all_weights(finished.folder / "model.pwfn"), return_counts=True)
    assert [float(row["value"]) for row in rows] == values.tolist()
    assert [int(row["weights"]) for row in rows] == counts.tolist()
    assert written["codebook"]["rare"] == (counts < 10).sum()
    layers = list(csv.reader((tmp_path / "codebook_layers.csv").open()))
    assert np.array(layers[1:])[:, 1:].astype(int).sum(0).tolist() == counts.tolist()
    image = np.asarray(imread(tmp_path / "codebook.png"))
    assert image.shape[1] == 1500
    assert (image[..., :3] < 0.9).any(axis=2).mean() > 0.05


def all_weights(path: Path) -> np.ndarray:
    """All quantized weights of an artifact."""
    state = pwfn.load(path).state_dict()
    coded = [names for one in pwfn.describe(path)["coded"] for names in one["names"][:1]]
    return np.concatenate([state[name].numpy().ravel() for name in coded])


@pytest.mark.slow
def test_an_artifact_without_sigmas_is_priced_in_weight_units(finished: Finished, tmp_path: Path) -> None:
    measured(
        artifact=str(finished.folder / "model.pwfn"),
        data=IMAGES,
        prune_codebook=PruneCodebook(5),
        noise=NoiseLevels(2, (0.01,), (), (1.0,)),
        bill=True,
        samples=2,
        output=str(tmp_path),
    )
    written = json.loads((tmp_path / "evaluation.json").read_text())
    assert written["prune_codebook"]["unit"] == "weight units"
    assert {point["unit"] for point in written["noise"]} == {"absolute"}
    assert written["bill"]["total"]["left"] == 0
    assert [note.split(":")[0] for note in written["notes"]] == [
        "No ensemble",
        "Merges are priced in weight units",
        "No noise in units of sigma",
    ]
    assert len(np.unique(all_weights(tmp_path / "pruned.pwfn"))) == 5


def test_values_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="max_size = 0: must be an integer from 1, or null"):
        settings(run="x", prune_codebook=PruneCodebook(0))
    with pytest.raises(ValueError, match="rare = -1"):
        CodebookSpec(True, -1, "sigma")
