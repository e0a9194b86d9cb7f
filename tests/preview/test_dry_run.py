"""`dry_run=true`: the clustering of a real run and nothing else, its moves and sizes counted by hand."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

import pwfn
from pwfn.bayesian.flat_weights import FlatWeights
from pwfn.bayesian.posterior import quantized_tensors, set_sigma
from pwfn.errors import RunError
from pwfn.models.timm_model import ModelError, build_bayesian
from pwfn.preview.dry_run import DryRun, Untrained
from pwfn.records.rounds import Scores
from pwfn.run.rounds.cluster_network import cluster_network
from pwfn.run.rounds.round_loop import RoundLoop
from pwfn.run.settings import TrainSettings
from pwfn.training.phase import Phase
from tests.support import oracles
from tests.support.project import Compose
from tests.support.runs.dry_runs import run, settings


def naive_rounds(made: TrainSettings) -> tuple[FlatWeights, list[FlatWeights], list[float]]:
    """Start and every round by calling the clustering itself."""
    network = build_bayesian(made.model, num_classes=None, in_chans=3)
    set_sigma(network, made.prior)
    tensors = quantized_tensors(network)
    start, after, limits = FlatWeights.of(tensors), [], []
    for fraction in made.schedule.fractions:
        options = {"fraction": fraction, "threshold": 1.0, "rule": made.clustering}
        result = cluster_network(
            tensors, FlatWeights.of(tensors), codebook=made.codebook, sigma_join=made.sigma_join, **options
        )
        after.append(FlatWeights.of(tensors))
        limits.append(result.threshold)
    return start, after, limits


def test_rounds_are_those_of_the_clustering_counted_by_hand(finished: tuple) -> None:
    made, _, records, _ = finished
    start, after, limits = naive_rounds(made)
    plain = timm.create_model("test_resnet")
    rest = sum(b.numel() * b.element_size() for b in plain.buffers())
    rest += sum(4 * p.numel() for name, p in plain.named_parameters()) - 4 * start.mu.numel()
    mu0, sigma0 = start.mu.double().numpy(), np.maximum(start.sigma.double().numpy(), 2.0**-20)
    for index, (record, now, limit) in enumerate(zip(records, after, limits, strict=True)):
        mu, fixed = now.mu.double().numpy(), now.assignment.numpy() >= 0
        values = Counter(mu[fixed].tolist())
        assert record.round == index
        assert record.fraction == made.schedule.fractions[index]
        assert fixed.sum() == math.ceil(record.fraction * len(mu))
        assert record.codebook_size == len(values)
        assert record.threshold == limit
        assert record.entropy_bits == pytest.approx(oracles.entropy_bits(mu.tolist()), rel=1e-9)
        orders = Counter(oracles.order_of(value, 7) for value in mu[fixed].tolist())
        assert record.order_share == pytest.approx([orders[n] / len(mu) for n in range(5)], rel=1e-12)
        moved = np.abs(mu - mu0)
        relative, sigmas = moved[mu0 != 0] / np.abs(mu0[mu0 != 0]), moved / sigma0
        for spread, expected in ((record.relative, relative), (record.tolerances, sigmas)):
            assert spread.mean == pytest.approx(expected.mean(), rel=1e-6)
            assert spread.largest == pytest.approx(expected.max(), rel=1e-6)
            assert spread.p99 == pytest.approx(np.sort(expected)[math.ceil(0.99 * len(expected)) - 1], rel=1e-6)
        free = int((~fixed).sum())
        used = [*values.values(), *([free] if free else [])]
        share = np.array(used) / len(mu)
        floats, bits = rest + 4 * free, math.ceil(math.log2(len(used)))
        entropy = -(share * np.log2(share)).sum() * len(mu) / 8
        size = record.size
        assert size.fp32_mb == pytest.approx((rest + 4 * len(mu)) / 1e6, rel=1e-12)
        assert size.index_bits == bits
        assert size.entropy_mb == pytest.approx((floats + entropy) / 1e6, abs=2e-6)
        assert size.fixed_mb == pytest.approx((floats + 4 * len(values) + bits * len(mu) / 8) / 1e6, abs=2e-6)
    assert records[-1].fraction == 1.0
    assert records[-1].size.entropy_mb < records[-1].size.fp32_mb / 4


def test_rounds_without_training_are_those_of_a_real_run_that_trains_nothing(composed: Compose) -> None:
    made = settings(composed)
    codebooks = []
    for runner_settings in (made.schedule, None):
        torch.manual_seed(0)
        network = build_bayesian(made.model, num_classes=10, in_chans=3)
        set_sigma(network, made.prior)
        if runner_settings is None:
            list(DryRun(network, made).rounds())
        else:
            parts = (made.schedule, made.clustering, made.codebook, made.sigma_join, made.optimizer)
            list(RoundLoop(Untrained(), network, *parts).rounds())
        codebooks.append(FlatWeights.of(quantized_tensors(network)))
    assert torch.equal(codebooks[0].mu, codebooks[1].mu)
    assert torch.equal(codebooks[0].assignment, codebooks[1].assignment)
    assert torch.equal(codebooks[0].sigma, codebooks[1].sigma)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "coat_lite_tiny"])
def test_the_expected_size_is_that_on_the_receipt_of_the_artifact(name: str, composed: Compose, tmp_path: Path) -> None:
    made = settings(composed, "model=timm", f"model.name={name}", "schedule=one_shot")
    network = build_bayesian(made.model, num_classes=10, in_chans=3)
    set_sigma(network, made.prior)
    (record,) = DryRun(network, made).rounds()
    receipt = pwfn.save(tmp_path / "model.pwfn", network)
    size = record.size
    assert (size.fp32_mb, size.fixed_mb) == (receipt.float32 / 1e6, receipt.fixed_width / 1e6)
    assert size.entropy_mb == receipt.entropy_bound / 1e6
    written = (tmp_path / "model.pwfn").stat().st_size / 1e6
    assert written == pytest.approx(size.entropy_mb, rel=0.1)  # what was promised is what one gets


def test_untrained_has_nothing_to_say() -> None:
    runner = Untrained()
    runner.fit(Phase("a round", 3, None))  # type: ignore[arg-type]
    assert runner.steps == 0
    assert math.isnan(runner.test().top1)
    assert isinstance(runner.test(), Scores)


def test_gradients_are_looked_at_once_and_serve_every_round(composed: Compose) -> None:
    made = settings(composed, "tolerance=fisher")
    network = build_bayesian(made.model, num_classes=None, in_chans=3)
    set_sigma(network, made.prior)
    gradients = torch.rand(FlatWeights.of(quantized_tensors(network)).mu.numel()) + 0.1
    looked: list[int] = []

    def look(batches: int) -> torch.Tensor:
        looked.append(batches)
        return gradients.clone()

    dry = DryRun(network, made, look)
    assert [record.round for record in dry.rounds()] == [0, 1, 2]
    assert looked == [made.tolerance.gradient_batches]
    torch.testing.assert_close(dry.loop.runner.squared_gradients(looked[0]), gradients)  # unchanged by the tolerance


@pytest.mark.slow
@pytest.mark.parametrize("name", [*timm.list_models("test_*"), "mobilenetv3_small_050"])
def test_any_model_is_dry_run(name: str, composed: Compose, tmp_path: Path) -> None:
    records, _ = run(settings(composed, "model=timm", f"model.name={name}"), tmp_path)
    plain = timm.create_model(name)
    bytes_ = {id(t): t.numel() * t.element_size() for t in [*plain.parameters(), *plain.buffers()]}
    assert len(records) == 3
    assert records[-1].codebook_size > 20
    assert sum(records[-1].order_share) == pytest.approx(1, rel=1e-12)
    # buffers that the state dict leaves out (position tables) are not stored
    assert round(1e6 * records[-1].size.fp32_mb) <= sum(bytes_.values())
    assert records[-1].size.entropy_mb < records[-1].size.fixed_mb < records[-1].size.fp32_mb / 3


@pytest.mark.parametrize("rule", ["mean_sigma", "divide_by_10", "allow_retraining"])
def test_every_sigma_join_goes_through(rule: str, composed: Compose, tmp_path: Path) -> None:
    records, _ = run(settings(composed, f"sigma_join={rule}", "codebook.b=5", "clustering.zero_fix=false"), tmp_path)
    assert records[-1].fraction == 1.0
    assert len(json.loads((tmp_path / "dry_run.json").read_text())) == 3


@pytest.mark.slow
def test_the_same_seed_gives_the_same_rounds(composed: Compose, tmp_path: Path) -> None:
    made = [run(settings(composed, f"seed={seed}"), tmp_path / str(n))[0] for n, seed in enumerate((1, 1, 2))]
    rows = [[{k: v for k, v in one.flat().items() if k != "cluster_seconds"} for one in records] for records in made]
    assert rows[0] == rows[1] != rows[2]


def test_weights_that_no_codebook_fits_are_one_line(composed: Compose, weights: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    large, zero = tmp_path / "large.safetensors", tmp_path / "zero.safetensors"
    state = load_file(weights)
    save_file({name: t * 1e9 if t.ndim == 4 else t for name, t in state.items()}, str(large))
    save_file({name: t * 0 for name, t in state.items()}, str(zero))
    for file, words in ((large, "smaller than"), (zero, "zero everywhere")):
        with pytest.raises(RunError, match=f"cannot be clustered in round 1/3: .*{words}") as error:
            run(settings(composed, f"model.checkpoint={file}"), tmp_path / "run")
        assert "\n" not in str(error.value)
        assert "optimizer" not in str(error.value)
    (tmp_path / "broken.safetensors").write_bytes(b"no weights")
    with pytest.raises(ModelError, match="not a readable file of weights"):
        run(settings(composed, f"model.checkpoint={tmp_path / 'broken.safetensors'}"), tmp_path / "run")
