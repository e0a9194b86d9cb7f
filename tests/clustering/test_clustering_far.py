"""Clustering away from the CPU: the same outcome, computed there, and few moments in which the host has to wait."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from pwfn.bayesian.prior import Pow2DistancePrior
from pwfn.clustering import chunking, intervals, sigma_join
from pwfn.clustering.chunking import MOST_PIECES
from pwfn.clustering.greedy_round import ClusterResult, cluster_round
from tests.support import oracles
from tests.support.far_device import FAR, far_device

CHUNK = 1 << 8  # so few weights make a chunk here that small inputs are cut into as many pieces as the largest would be


def normal(n: int) -> tuple[Tensor, Tensor]:
    mu = 0.03 * torch.randn(n, generator=torch.Generator().manual_seed(2))
    return mu, Pow2DistancePrior()(mu)


@pytest.mark.parametrize("rule", sorted(oracles.SIGMA_JOINS))
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("dense_codes", [0, intervals.DENSE_CODES])
def test_the_outcome_is_that_of_the_cpu_and_stays_where_it_was_computed(
    rule: str, dtype: torch.dtype, dense_codes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunking, "CHUNK", CHUNK)
    monkeypatch.setattr(intervals, "DENSE_CODES", dense_codes)
    mu, sigma = (x.to(dtype) for x in normal(3000))
    mu[[3, 2000]] = -2.5
    for fraction in (0.3, 1.0):
        options = {"fraction": fraction, "sigma_join": getattr(sigma_join, rule)}
        expected = cluster_round(mu, sigma, **options)
        with far_device():
            result = cluster_round(mu.to(FAR), sigma.to(FAR), **options)
            parts = (result.mu, result.sigma, result.assignment, result.codebook)
            assert all(part.device == FAR for part in parts)
            back = ClusterResult(*(part.cpu() for part in parts), result.threshold)
        assert back.threshold == expected.threshold
        for name in ("mu", "assignment", "codebook"):
            assert torch.equal(getattr(back, name), getattr(expected, name))
        torch.testing.assert_close(back.sigma, expected.sigma, rtol=1e-6, atol=0)  # sums over other pieces


@pytest.mark.parametrize("fraction", [0.2, 0.9, 1.0])
def test_the_host_waits_so_often_per_threshold_whatever_the_number_of_weights(
    fraction: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunking, "CHUNK", CHUNK)
    for n in (1 << 9, 1 << 13, 1 << 16, 1 << 19):
        mu, sigma = normal(n)
        with far_device() as waits:
            far_mu, far_sigma = mu.to(FAR), sigma.to(FAR)
            waits.clear()
            result = cluster_round(far_mu, far_sigma, fraction=fraction)
            counted = dict(waits)
        thresholds = math.log2(result.threshold) + 1
        # Per threshold: the largest weights, the histogram, up to three look-up tables. Once: the checks, the values,
        # and for the cluster that is cut short one wait per piece. The largest of the weights left free is looked for in
        # one piece after the other, nearly always found in the first.
        bound = {
            "tolist": 1 + thresholds,
            "copy": 4 + 4 * thresholds,
            "nonzero": MOST_PIECES,
            "index": 1,
            "_unique2": 1,
        }
        bound["_local_scalar_dense"] = 2 + 2 * thresholds
        assert {kind for kind, times in counted.items() if times > bound.get(kind, 0)} == set(), (n, counted)
        assert counted["tolist"] == 1 + thresholds


def test_the_far_device_counts_what_waits_and_refuses_to_mix() -> None:
    with far_device() as waits:
        far = torch.tensor([1.0, 0.0, 3.0]).to(FAR)
        assert far.device == FAR and waits == {"copy": 1}
        doubled = far.mul(2).add_(torch.tensor(1.0))
        far[1:].neg_()
        assert waits == {"copy": 1}
        assert far.cpu().tolist() == [1.0, 0.0, -3.0] and doubled.tolist() == [3.0, 1.0, 7.0]
        assert bool((far < 0).any()) and far.max().item() == 1.0
        assert far[far != 0].numel() == 2 and far[far.argsort()].numel() == 3 and far.nonzero().shape == (2, 1)
        assert waits == {"copy": 2, "tolist": 1, "_local_scalar_dense": 2, "index": 1, "nonzero": 1}
        with pytest.raises(RuntimeError, match="mixes tensors of the host and of the device"):
            far + torch.ones(3)
        for made in (torch.zeros(2, device=FAR), far.new_tensor([1]), torch.tensor([1.0], device=FAR), far.new_ones(2)):
            assert made.device == FAR and made.sum().item() > -1
