"""Accuracy under noise on the weights, against networks whose weights were changed by hand."""

from __future__ import annotations

import csv
import json
import re

import numpy as np
import pytest
import torch
from matplotlib.image import imread

from pwfn.bayesian.posterior import quantized_tensors
from pwfn.checkpoint.saved_run import NotAFinishedRun
from pwfn.evaluation.analyses.weight_noise import NoisePoint, WeightNoise, noisy, scales
from pwfn.evaluation.find_subject import subject_of
from pwfn.evaluation.measure import Measured, Setup
from pwfn.evaluation.settings import NoiseLevels
from pwfn.randomness import mixed_seed
from pwfn.records.rounds import Scores
from pwfn.run.start import Finished
from tests.support.evaluation import measured, settings

LEVELS = NoiseLevels(2, (0.01, 0.5), (0.3,), (2.0,))


@pytest.fixture(scope="module")
def setup(finished_run: Finished, tmp_path_factory: pytest.TempPathFactory) -> Setup:
    folder = finished_run.folder
    out = tmp_path_factory.mktemp("evaluation")
    one = settings(run=str(folder), noise=LEVELS, compare=(str(folder),), output=str(out))
    return Setup.of(one, subject_of(one))


def naive_top1(setup: Setup, name: str, kind: str, level: float, draw: int) -> float:
    """Accuracy of a network whose means were replaced, tensor by tensor."""
    network, clustered = setup.network(name), setup.network("clustered")
    torch.manual_seed(mixed_seed(0, draw))
    for tensor, other in zip(quantized_tensors(network), quantized_tensors(clustered), strict=True):
        deviation = {"absolute": 1.0, "relative": tensor.mu.detach().abs(), "sigma": other.gaussian.effective_sigma}
        tensor.mu.data = tensor.mu.data + level * deviation[kind] * torch.randn(tensor.mu.shape)
    right = total = 0
    with torch.no_grad():
        for images, labels in setup.subject.data.test_dataloader():
            right += int((network(images).argmax(1) == labels).sum())
            total += len(labels)
    return 100 * (right / total)


@pytest.mark.slow
def test_the_curves_are_those_of_networks_changed_by_hand(setup: Setup) -> None:
    half = Scores(50.0, 100.0, 1.0)
    without_noise = Measured([], [], {"pretrained": half, "clustered": half}, images=0)
    section = WeightNoise(setup.settings).run(setup, without_noise)
    folder = setup.subject.folder
    with (folder / "noise.csv").open() as file:
        rows = list(csv.DictReader(file))
    runs = str(setup.settings.run)
    assert [(row["network"], row["unit"], float(row["level"]), int(row["draw"])) for row in rows] == [
        (network, unit, level, draw)
        for network in ("pretrained", "clustered", runs)
        for unit, levels in (("absolute", (0.01, 0.5)), ("relative", (0.3,)), ("sigma", (2.0,)))
        for level in levels
        for draw in range(2)
    ]
    found = {(r["network"], r["unit"], float(r["level"]), int(r["draw"])): float(r["top1"]) for r in rows}
    for network, unit, level in (
        ("pretrained", "absolute", 0.01),
        ("pretrained", "sigma", 2.0),
        ("clustered", "relative", 0.3),
    ):
        expected = [naive_top1(setup, network, unit, level, draw) for draw in range(2)]
        assert [found[network, unit, level, draw] for draw in range(2)] == expected
    for key, value in found.items():
        if key[0] == runs:  # the same network, given for comparison
            assert value == found["clustered", *key[1:]]
    assert json.dumps(section.content)
    assert len(section.content) == 3 * 4
    assert np.asarray(imread(folder / "noise.png")).shape[:2] == (660, 1620)


def test_noise_is_gaussian_in_each_unit_and_goes_away(setup: Setup) -> None:
    network = setup.network("clustered")
    tensor = max(quantized_tensors(network), key=lambda one: one.mu.numel())
    mu, sigma = tensor.mu.detach().double(), tensor.gaussian.effective_sigma.double()
    expected = {"absolute": torch.full_like(mu, 0.5), "relative": 0.5 * mu.abs(), "sigma": 0.5 * sigma}
    draws = {}
    for kind, deviation in expected.items():
        with noisy(network, scales(kind, 0.5, network), 7, 1):
            change = tensor.gaussian(tensor.mu).detach().double() - mu
        wide = deviation > 1e-3 * mu.abs().max()
        draws[kind] = torch.where(wide, change / deviation, torch.nan)
        standard = draws[kind][wide]
        assert abs(standard.mean()) < 5 / standard.numel() ** 0.5
        assert abs(standard.std() - 1) < 0.03
    both = ~draws["absolute"].isnan() & ~draws["relative"].isnan()
    torch.testing.assert_close(draws["absolute"][both], draws["relative"][both], rtol=1e-2, atol=1e-3)  # the same eps
    assert torch.equal(tensor.gaussian(tensor.mu), tensor.mu)


def test_the_band_is_students() -> None:
    values = [70.0, 72.0, 71.0, 69.0, 74.0]
    point = NoisePoint("x", "sigma", 1.0, [Scores(value, 100.0, 0.0) for value in values])
    assert point.top1 == pytest.approx(71.2)
    assert point.half_width == pytest.approx(2.776445 * np.std(values, ddof=1) / 5**0.5, rel=1e-6)  # t(0.975, 4)


@pytest.mark.parametrize(
    ("levels", "said"),
    [
        ((1, (0.1,), (), ()), "draws = 1: must be an integer from 2"),
        ((2, (), (), ()), "at least one level"),
        ((2, (0.1, -1.0), (), ()), "absolute = (0.1, -1.0): must be numbers above 0"),
    ],
)
def test_levels_out_of_range_are_refused(levels: tuple[object, ...], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        NoiseLevels(*levels)  # type: ignore[arg-type]


def test_comparing_needs_noise_and_finished_runs(setup: Setup) -> None:
    with pytest.raises(NotAFinishedRun, match="nowhere is not a finished run"):
        measured(run=str(setup.settings.run), compare=("nowhere",), noise=LEVELS)
    with pytest.raises(ValueError, match=r"compare = \['x'\]: must be \[\] where noise.draws is 0"):
        settings(run="y", compare=("x",))
