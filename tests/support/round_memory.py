"""Made-up weights of any number, and the memory that a clustering round of them needs."""

from __future__ import annotations

import torch
from torch import Tensor

from pwfn.bayesian.prior import Pow2DistancePrior
from pwfn.clustering.greedy_round import cluster_round
from tests.support.peak_memory import peak

THREADS = 2


LAYER = 1 << 20  # weights of one tensor, for the prior


def normal_weights(n: int) -> tuple[Tensor, Tensor]:
    """Mu and sigma of a network of layers of 2^20 weights. Made in place: nothing but the two stays behind."""
    numbers = torch.Generator().manual_seed(0)
    mu, sigma = torch.empty(n), torch.empty(n)
    for layer, its_sigma in zip(mu.split(LAYER), sigma.split(LAYER), strict=True):
        layer.normal_(0, 0.03, generator=numbers)
        its_sigma.copy_(Pow2DistancePrior()(layer))
    return mu, sigma


def peak_extra_bytes(n: int, fraction: float) -> float:
    """By how much a round raises this process's memory at its peak."""
    torch.set_num_threads(THREADS)
    mu, sigma = normal_weights(n)
    cluster_round(mu[:1000], sigma[:1000], fraction=fraction)  # loads the code: that is not memory for the weights
    return peak(lambda: cluster_round(mu, sigma, fraction=fraction))["bytes"]
