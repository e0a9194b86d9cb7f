"""What a run would have been worth had it stopped earlier, and BatchNorm's statistics gathered anew."""

from __future__ import annotations

import copy
import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.image import imread
from scipy.stats import entropy
from torch import nn
from torch.optim.swa_utils import update_bn

import pwfn
from pwfn.bayesian.flat_weights import FlatWeights
from pwfn.bayesian.posterior import quantized_tensors
from pwfn.clustering.rounds.greedy_round import cluster_round
from pwfn.errors import RunError
from pwfn.evaluation.analyses.stop_after_round import saved_rounds
from pwfn.evaluation.find_subject import subject_of
from pwfn.evaluation.run_subject import rebuilt_settings
from pwfn.models.batchnorm import reestimate
from pwfn.models.precision import Computing
from pwfn.run.start import Finished
from tests.support.evaluation import measured, settings

ON = Computing(torch.device("cpu"), "32-true")


@pytest.fixture(scope="module")
def finished(finished_run: Finished) -> Finished:
    return finished_run


@pytest.mark.slow
def test_every_round_is_clustered_to_the_end_and_measured(finished: Finished, tmp_path: Path) -> None:
    again = measured(run=str(finished.folder), frontier=True, output=str(tmp_path))
    with (tmp_path / "frontier.csv").open() as file:
        first, last = ({key: float(value) for key, value in row.items()} for row in csv.DictReader(file))
    network = pwfn.load(finished.folder / "round_1.pwfn", posterior=True)
    tensors = quantized_tensors(network)
    flat = FlatWeights.of(tensors)
    assert 0 < (flat.assignment < 0).sum() < flat.mu.numel()
    saved, _ = rebuilt_settings(finished.folder)
    start, inc = saved.clustering.start, saved.clustering.inc
    result = cluster_round(flat.mu, flat.sigma, fraction=1.0, threshold=start, inc=inc, sigma_join=saved.sigma_join)
    values, counts = np.unique(result.mu.numpy(), return_counts=True)
    assert first["round"] == 1
    assert first["fraction"] == 0.6
    assert first["codebook_size"] == len(values)
    assert first["entropy_bits"] == pytest.approx(entropy(counts, base=2), rel=1e-12)
    for tensor, piece in zip(tensors, result.mu.split([t.mu.numel() for t in tensors]), strict=True):
        tensor.mu.data = piece.view_as(tensor.mu)
    right = total = 0
    with torch.no_grad():
        for images, labels in subject_of(settings(run=str(finished.folder))).data.test_dataloader():
            right += int((network(images).argmax(1) == labels).sum())
            total += len(labels)
    assert first["top1"] == 100 * (right / total)
    record = finished.records[-1]
    assert (last["top1"], last["loss"]) == (record.clustered.top1, record.clustered.loss)
    assert last["codebook_size"] == record.codebook_size
    assert last["fraction"] == 1.0
    whole = (finished.folder / "model.pwfn").stat().st_size / 1e6
    assert last["file_mb"] < whole
    assert first["file_mb"] > 0.5 * whole
    written = json.loads((tmp_path / "evaluation.json").read_text())
    assert written["frontier"][0]["top1"] == first["top1"]
    assert again.images == total
    assert np.asarray(imread(tmp_path / "frontier.png")).shape[:2] == (810, 1200)


@pytest.mark.slow
def test_a_run_without_the_networks_of_its_rounds_is_refused(finished: Finished, tmp_path: Path) -> None:
    (tmp_path / "rounds.json").write_text((finished.folder / "rounds.json").read_text())
    with pytest.raises(RunError, match=r"round_1.pwfn is missing or has no sigmas: it needs a run with artifact"):
        saved_rounds(tmp_path)
    (tmp_path / "round_1.pwfn").write_bytes(b"nothing")
    with pytest.raises(RunError, match=r"round_1.pwfn"):
        saved_rounds(tmp_path)


@pytest.mark.slow
def test_new_statistics_are_a_row_of_their_own(finished: Finished, tmp_path: Path) -> None:
    again = measured(run=str(finished.folder), batchnorm_images=64, output=str(tmp_path))
    assert [row.network for row in again.rows] == ["pretrained", "trained", "clustered", "new BN"]
    assert again.row("new BN", "mean").figures["nll"] != again.row("clustered", "mean").figures["nll"]
    (note,) = json.loads((tmp_path / "evaluation.json").read_text())["notes"]
    assert "its 15 BatchNorm layers" in note
    assert "over 58 training images" in note  # a tenth of the 64 is held out


def test_statistics_are_those_of_torch() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.Dropout(0.5), nn.Conv2d(5, 4, 3), nn.BatchNorm2d(4)
    )
    data = [(torch.randn(8, 3, 9, 9), torch.zeros(8)) for _ in range(5)]
    plain = copy.deepcopy(network)
    plain[3] = nn.Identity()  # update_bn would drop activations, which no prediction does
    update_bn([batch for batch, _ in data[:3]], plain)
    assert reestimate(network, data, ON, images=20) == (2, 24)
    for ours, theirs in ((network[1], plain[1]), (network[5], plain[5])):
        torch.testing.assert_close(ours.running_mean, theirs.running_mean)
        torch.testing.assert_close(ours.running_var, theirs.running_var)
        assert ours.momentum == 0.1
        assert not ours.training
    first = torch.cat([network[0](batch) for batch, _ in data[:3]]).mean(dim=(0, 2, 3))
    torch.testing.assert_close(network[1].running_mean, first)
    assert reestimate(nn.Linear(2, 2), data, ON, images=20) == (0, 0)


def test_a_frontier_needs_a_run() -> None:
    with pytest.raises(ValueError, match="frontier = True: must be false with an artifact"):
        settings(artifact=__file__, frontier=True)
