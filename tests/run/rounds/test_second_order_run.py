"""Runs with second-order clustering: rounds, budgets, dry runs, a signal in the middle of it."""

from __future__ import annotations

import json
import math
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from rich.console import Console
from safetensors.torch import load_file
from torch import Tensor, nn

import pwfn
from pwfn.bayesian.flat_weights import FlatWeights
from pwfn.bayesian.gaussian_weight import FREE
from pwfn.bayesian.posterior import quantized_tensors, to_bayesian
from pwfn.clustering import AdditivePow2, Codebook, SecondOrder, SignedPow2, Uniform
from pwfn.clustering.sigma_join import std_mu
from pwfn.config import build
from pwfn.errors import RunError, Stopped
from pwfn.post_training.budget import Budget, Trial
from pwfn.post_training.cluster_layers import LayerClustering
from pwfn.preview.dry_run_report import dry_run
from pwfn.records.rounds import read_records
from pwfn.run.find_rate import FoundClustering
from pwfn.run.rounds.second_order_round import SecondOrderRound
from pwfn.run.settings import TrainSettings
from pwfn.run.start import Finished, run
from pwfn.training.signals import StopNow
from tests.support.project import SMALL, Compose
from tests.support.runs.killed_runs import differences

SECOND_ORDER = ("clustering=second_order", "clustering.images=16", "clustering.passes=1", "clustering.rate=1e-6")
AT_ONCE = ("schedule.fractions=[1.0]", "schedule.first_epochs=0")
Start = Callable[..., Finished]


@pytest.fixture(scope="module")
def start(composed: Compose) -> Start:
    def begin(folder: Path, *overrides: str, resume: bool = False) -> Finished:
        cfg = composed(*SMALL, *SECOND_ORDER, *overrides)
        settings = build.load(TrainSettings, cfg)
        return run(settings, OmegaConf.to_container(cfg, resolve=True), folder, name="test", resume=resume)

    return begin


def toy() -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(96, 5))
    to_bayesian(network)
    return network, torch.randn(64, 1, 6, 6)


@pytest.mark.parametrize(
    "codebook",
    [AdditivePow2(6, 3), SignedPow2(6, 2), Uniform(4, scope="tensor"), AdditivePow2(7, 4, per_tensor_max=4)],
    ids=repr,
)
def test_rounds_hold_what_they_have_fixed(codebook: Codebook) -> None:
    network, images = toy()
    made: Any = SecondOrderRound(network, SecondOrder(rate=1e-4), codebook, std_mu, images)
    half = made.run(0.5)[0]
    tensors = quantized_tensors(network)
    now = FlatWeights.of(tensors)
    fixed = now.assignment != FREE
    assert int(fixed.sum()) == math.ceil(0.5 * len(now.mu))
    assert torch.equal(now.mu, half.mu)
    assert torch.equal(half.mu[fixed], half.codebook[half.assignment[fixed].long()])
    with torch.no_grad():  # training moves what is free
        for tensor in tensors:
            tensor.mu.add_(0.05 * torch.randn_like(tensor.mu) * (tensor.gaussian.assignment == FREE))
    whole = SecondOrderRound(network, made.rule, half.values or codebook, std_mu, images).run(1.0)[0]
    assert (whole.assignment != FREE).all()
    if codebook.per_tensor_max is None:  # a limit may move what is fixed, as with every rule
        assert torch.equal(whole.mu[fixed], half.mu[fixed])
    for mu, tensor in zip(whole.mu.split([t.mu.numel() for t in tensors]), tensors, strict=True):
        assert torch.equal(mu, tensor.mu.detach().flatten())
        assert codebook.per_tensor_max is None or len(mu.unique()) <= codebook.per_tensor_max


def test_a_weight_that_is_no_number_is_refused() -> None:
    network, images = toy()
    with torch.no_grad():
        quantized_tensors(network)[0].mu[0] = math.nan
    with pytest.raises(ValueError, match="mu must be finite"):
        SecondOrderRound(network, SecondOrder(), AdditivePow2(), std_mu, images).run(1.0)


@pytest.mark.slow
def test_a_run_of_two_rounds(start: Start, tmp_path: Path) -> None:
    start(tmp_path)
    first, last = read_records(tmp_path)
    assert (first.fraction, last.fraction) == (0.6, 1.0)
    assert last.moved == 0
    header = pwfn.describe(tmp_path / "model.pwfn")
    assert header["free"] == 0
    state = pwfn.load(tmp_path / "model.pwfn").state_dict()
    for one in header["coded"]:
        weights = state[one["names"][0]].double() * 2**7
        assert torch.equal(weights, weights.round())


@pytest.mark.slow
def test_a_signal_within_a_clustering_loses_nothing(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(tmp_path / "whole", "schedule.fractions=[1.0]")
    calls = []

    def interrupted(self: LayerClustering, *given: Any) -> Any:
        calls.append(original(self, *given))
        raise StopNow(signal.SIGTERM)

    original = LayerClustering.run
    with monkeypatch.context() as patch:
        patch.setattr(LayerClustering, "run", interrupted)
        with pytest.raises(Stopped):
            start(tmp_path / "stopped", "schedule.fractions=[1.0]")
    assert len(calls) == 1
    start(tmp_path / "stopped", "schedule.fractions=[1.0]", resume=True)
    assert differences(tmp_path / "whole", tmp_path / "stopped") == []


@pytest.mark.slow
def test_a_budget_is_met_by_the_file(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pwfn.post_training.budget.ENOUGH", 0.6)  # a few tries are enough for a test
    monkeypatch.setattr("pwfn.post_training.budget.NEGLIGIBLE", -1.0)  # noise for images: nothing can be lost
    start(tmp_path, *AT_ONCE, "budget.bits=0.9")
    trials = json.loads((tmp_path / "budget.json").read_text())
    receipt = pwfn.describe(tmp_path / "model.pwfn")["receipt"]
    assert 0.5 < receipt["file_bits"] <= 0.9
    best = min((trial for trial in trials if trial["bits"] <= 0.9), key=lambda trial: trial["rate"])
    assert best["bits"] == pytest.approx(receipt["file_bits"])


RATES = (1e-6, 1e-4, 1e-5)


def three_tries(budget: Budget, start: float, attempt: Callable[[float], Trial]) -> Trial:
    """Try three rates whatever they give; return the best."""
    del start
    best = budget.best([attempt(rate) for rate in RATES])
    assert best is not None
    return best


@pytest.mark.slow
@pytest.mark.parametrize(
    ("budget", "rate"), [("budget.bits=20", 1e-6), ("budget.drop=99", 1e-4)], ids=["bits", "accuracy"]
)
def test_the_round_takes_the_clustering_that_met_the_budget_best(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, budget: str, rate: float
) -> None:
    monkeypatch.setattr("pwfn.run.find_rate.find_rate", three_tries)
    clusterings: list[float] = []
    run_once, restore, taken = SecondOrderRound.run, FoundClustering.restore, []
    monkeypatch.setattr(SecondOrderRound, "run", lambda one, share: clusterings.append(share) or run_once(one, share))
    monkeypatch.setattr(FoundClustering, "restore", lambda one: taken.append(one) or restore(one))
    start(tmp_path / "budget", *AT_ONCE, budget, "data.val_fraction=0.2")
    assert len(json.loads((tmp_path / "budget/budget.json").read_text())) == 3
    assert (clusterings, [one.rate for one in taken]) == ([1.0] * len(RATES), [rate])  # the round clusters no more
    (record,) = read_records(tmp_path / "budget")
    assert record.cluster_seconds == pytest.approx(taken[0].seconds)
    start(tmp_path / "rate", *AT_ONCE, f"clustering.rate={rate}", "data.val_fraction=0.2")
    assert clusterings == [1.0] * (len(RATES) + 1)
    networks = [load_file(tmp_path / way / "network.safetensors") for way in ("budget", "rate")]
    assert networks[0].keys() == networks[1].keys()
    assert all(torch.equal(networks[0][name], networks[1][name]) for name in networks[0])
    assert len({(tmp_path / way / "clusters.csv").read_bytes() for way in ("budget", "rate")}) == 1


@pytest.mark.slow
def test_a_signal_within_a_search_loses_nothing(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pwfn.run.find_rate.find_rate", three_tries)
    start(tmp_path / "whole", *AT_ONCE, "budget.bits=20")
    calls = []

    def interrupted(self: LayerClustering, *given: Any) -> Any:
        calls.append(original(self, *given))
        if len(calls) == 2:
            raise StopNow(signal.SIGTERM)
        return calls[-1]

    original = LayerClustering.run
    with monkeypatch.context() as patch:
        patch.setattr(LayerClustering, "run", interrupted)
        with pytest.raises(Stopped):
            start(tmp_path / "stopped", *AT_ONCE, "budget.bits=20")
    start(tmp_path / "stopped", *AT_ONCE, "budget.bits=20", resume=True)
    assert differences(tmp_path / "whole", tmp_path / "stopped") == []


def test_what_a_budget_needs(composed: Compose, start: Start, tmp_path: Path) -> None:
    with pytest.raises(
        Exception, match=r"budget.bits = 2.0: must be null, unless clustering=second_order clusters in one round"
    ):
        build.load(TrainSettings, composed("budget.bits=2.0"))
    with pytest.raises(Exception, match=r"clustering.rate = -1.0: must be a number from 0"):
        build.load(TrainSettings, composed("clustering=second_order", "clustering.rate=-1.0"))
    with pytest.raises(RunError, match=r"budget.drop = 1.0: is judged on validation images: set data.val_fraction"):
        start(tmp_path, *AT_ONCE, "budget.drop=1.0", "data.val_fraction=0")


@pytest.mark.slow
def test_a_dry_run_looks_at_images(composed: Compose, tmp_path: Path) -> None:
    cfg = composed(*SMALL, *SECOND_ORDER, "dry_run=true")
    console = Console(file=(tmp_path / "console.txt").open("w"))
    records = dry_run(build.load(TrainSettings, cfg), OmegaConf.to_container(cfg, resolve=True), tmp_path, console)
    assert [record.fraction for record in records] == [0.6, 1.0]
    assert records[-1].tensor_entropy_bits < 5
