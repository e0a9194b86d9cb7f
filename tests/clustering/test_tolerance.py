"""Each tolerance rule against its formula, and a clustering that counts in tolerances against the oracle."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pwfn.clustering.cluster_result import ClusterResult
from pwfn.clustering.codebooks.codebook import AdditivePow2
from pwfn.clustering.rounds.greedy_round import cluster_round
from pwfn.clustering.rules import Greedy
from pwfn.clustering.sigma_join import divide_by_10
from pwfn.clustering.tolerance import (
    ConstantTolerance,
    FisherTolerance,
    KroneckerTolerance,
    RelativeTolerance,
    SigmaTolerance,
    Tolerance,
)
from pwfn.config import build
from pwfn.config.build import ConfigError
from pwfn.errors import InvalidValueError
from pwfn.evaluation.run_subject import rebuilt_settings
from pwfn.run.settings import TrainSettings
from tests.support import oracles
from tests.support.project import RECORDED, Compose
from tests.support.tolerances import RULES

ROUND: dict[str, Any] = {"threshold": 1.5, "inc": 2.0, "zero_fix": True, "codebook": AdditivePow2(b=7, max_order=3)}
ORACLE: dict[str, Any] = {"threshold": 1.5, "inc": 2.0, "zero_fix": True, "b": 7, "max_order": 3}


def weights(n: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Mu, sigma and a tolerance that has nothing to do with it."""
    numbers = torch.Generator().manual_seed(seed)
    mu = 0.1 * torch.randn(n, generator=numbers, dtype=torch.float64)
    sigma, tolerance = (0.01 * torch.rand(n, generator=numbers, dtype=torch.float64) for _ in range(2))
    return mu, sigma, tolerance


def no_gradients(_batches: int) -> Tensor:
    raise AssertionError("this rule looks at no gradients")


# the rules -----------------------------------------------------------------------------------------------------------


def test_sigma_constant_and_relative_are_what_they_say() -> None:
    mu, sigma, _ = weights(50)
    mu[3] = 0
    assert SigmaTolerance()(mu, sigma, no_gradients) is sigma
    assert ConstantTolerance(0.25)(mu, sigma, no_gradients).tolist() == [0.25] * 50
    assert RelativeTolerance(0.5)(mu, sigma, no_gradients).tolist() == [0.5 * abs(m) for m in mu.tolist()]
    assert mu[4] < 0 or mu[5] < 0 or (mu < 0).any()  # mu itself is as it was
    assert [rule.gradient_batches for rule in RULES] == [0, 0, 0, 3, 0]
    assert [rule.factor_images for rule in RULES] == [0, 0, 0, 0, 9]
    assert [rule.sees_images for rule in RULES] == [False, False, False, True, True]


@pytest.mark.parametrize("floor", [1e-4, 0.3, 1.0])
def test_fisher_is_an_inverse_square_root_scaled_at_the_median(floor: float) -> None:
    numbers = torch.Generator().manual_seed(1)
    squared = torch.randn(41, generator=numbers).abs() ** 6
    squared[:10] = 0
    mu = torch.zeros(41)
    asked: list[int] = []

    def gradients(count: int) -> Tensor:
        asked.append(count)
        return squared.clone()

    made = FisherTolerance(0.002, batches=5, floor=floor)(mu, mu, gradients)
    felt = sorted(value for value in squared.tolist() if value > 0)
    median = felt[(len(felt) - 1) // 2]
    expected = [0.002 * math.sqrt(median / max(value, floor * median)) for value in squared.tolist()]
    assert asked == [5]
    assert made.tolist() == pytest.approx(expected, rel=1e-5)
    assert made.max().item() <= 0.002 / math.sqrt(floor) * (1 + 1e-6)
    assert made[squared == median].item() == pytest.approx(0.002, rel=1e-6)


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_fisher_refuses_gradients_that_say_nothing(wrong: float) -> None:
    mu, rule = torch.ones(4), FisherTolerance(0.002, batches=1, floor=0.01)
    with pytest.raises(ValueError, match="must be finite"):
        rule(mu, mu, lambda _: torch.tensor([1.0, wrong, 2.0, 0.0]))
    with pytest.raises(ValueError, match="other than 0"):
        rule(mu, mu, lambda _: torch.zeros(4))


@pytest.mark.parametrize(
    "build",
    [
        lambda: ConstantTolerance(0.0),
        lambda: ConstantTolerance(math.nan),
        lambda: RelativeTolerance(math.inf),
        lambda: FisherTolerance(-1.0, batches=0, floor=1.5),
        lambda: KroneckerTolerance(0.002, images=1, floor=0.01),
    ],
)
def test_values_out_of_range_are_refused(build: Callable[[], Tolerance]) -> None:
    with pytest.raises(InvalidValueError, match="must be"):
        build()


# the clustering ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fraction", [0.2, 0.77, 1.0])
def test_a_clustering_counts_in_tolerances_and_joins_sigmas(fraction: float) -> None:
    mu, sigma, tolerance = weights(700)
    tolerance[::9] = 0
    result = cluster_round(mu, sigma, fraction=fraction, tolerance=tolerance, sigma_join=divide_by_10, **ROUND)
    new_mu, _, assignment, codebook, k = oracles.cluster_round(
        mu.numpy(), tolerance.numpy(), fraction=fraction, rule="divide_by_10", **ORACLE
    )
    assert result.mu.tolist() == new_mu.tolist()
    assert result.assignment.tolist() == list(assignment)
    assert result.codebook.tolist() == codebook
    assert result.threshold == k
    expected = np.where(result.assignment.numpy() >= 0, sigma.numpy() / 10, sigma.numpy())
    assert result.sigma.tolist() == expected.tolist()


def same(a: ClusterResult, b: ClusterResult) -> bool:
    names = ("mu", "sigma", "assignment", "codebook")
    return all(torch.equal(getattr(a, name), getattr(b, name)) for name in names) and a.threshold == b.threshold


def test_sigma_as_a_tolerance_changes_nothing() -> None:
    mu, sigma, tolerance = (t.float() for t in weights(5000, seed=2))
    default = cluster_round(mu, sigma, fraction=0.8)
    assert same(default, cluster_round(mu, sigma, fraction=0.8, tolerance=sigma))
    assert same(default, cluster_round(mu, sigma, fraction=0.8, tolerance=sigma.clone()))
    assert not same(default, cluster_round(mu, sigma, fraction=0.8, tolerance=tolerance))


@pytest.mark.parametrize(
    ("tolerance", "words"),
    [
        (torch.ones(5), "shape and dtype of mu"),
        (torch.ones(6, dtype=torch.float64), "shape and dtype of mu"),
        (-torch.ones(6), "not negative"),
        (torch.tensor([1.0, 1, 1, 1, 1, math.nan]), "must be finite"),
        (torch.full((6,), math.inf), "must be finite"),
    ],
)
def test_a_tolerance_that_measures_nothing_is_refused(tolerance: Tensor, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        cluster_round(torch.ones(6), torch.ones(6), fraction=0.5, tolerance=tolerance)


@pytest.mark.parametrize("value", [1e-30, 1e30])
def test_extreme_tolerances_come_to_an_end(value: float) -> None:
    mu, sigma, _ = (t.float() for t in weights(300))
    result = cluster_round(mu, sigma, fraction=1.0, tolerance=torch.full_like(mu, value))
    assert (result.assignment >= 0).all()
    assert result.codebook.numel() == 1 or value < 1


# the settings --------------------------------------------------------------------------------------------------------


def test_noise_and_tolerance_are_chosen_apart(composed: Compose) -> None:
    for rule, noise in (("sigma", False), ("constant", True), ("relative", False), ("fisher", True)):
        made = build.load(TrainSettings, composed(f"tolerance={rule}", f"noise={noise}"))
        assert type(made.tolerance).__name__ == f"{rule.capitalize()}Tolerance"
        assert made.noise is noise
    default = build.load(TrainSettings, composed())
    assert isinstance(default.tolerance, SigmaTolerance)
    assert default.noise is True


def test_sigma_as_the_tolerance_of_a_run_without_noise_is_remarked_upon(composed: Compose) -> None:
    overrides = (("noise=true", "sigma"), ("noise=false", "constant"), ("noise=false", "sigma"))
    remarks = [build.load(TrainSettings, composed(noise, f"tolerance={rule}")).remarks for noise, rule in overrides]
    assert remarks[:2] == [[], []]
    assert "nothing trains sigma" in remarks[2][0]


def test_a_run_of_an_earlier_version_is_read_as_what_it_was() -> None:
    """Whoever adds a key to a run's configuration has to say what runs did before there was one."""
    made, _ = rebuilt_settings(RECORDED / "earlier_run")
    assert isinstance(made.tolerance, SigmaTolerance)
    assert made.noise
    assert not made.finish.wanted
    assert isinstance(made.clustering, Greedy)
    assert made.distillation.weight == 0
    assert made.costly_round.points is None


def test_sigma_alone_cannot_be_trained_without_noise(composed: Compose) -> None:
    with pytest.raises(ConfigError, match=r"schedule\.training = 'alternate': must be joint where noise is false"):
        build.load(TrainSettings, composed("noise=false", "schedule.training=alternate"))


def test_linear_layers_of_one_weight_have_a_tolerance() -> None:
    mu = torch.tensor([0.3])
    for rule in RULES:
        made = rule(mu, mu, lambda _: torch.tensor([0.01]))
        assert made.shape == (1,)
        assert made.item() > 0
