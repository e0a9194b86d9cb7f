"""Make heavy-tailed weights, and list codebooks that are made from weights."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pwfn.clustering.codebooks.codebook import Codebook
from pwfn.clustering.codebooks.fitted_codebook import KMeans, Uniform

MADE: list[Codebook] = [
    Uniform(bits=2),
    Uniform(bits=4, scope="tensor"),
    Uniform(bits=3, within=1.0),
    KMeans(5),
    KMeans(3, scope="tensor"),
]


def weights(n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Heavy-tailed float32 numbers, three tensors of different scale, some of them exactly zero."""
    numbers = np.random.default_rng(seed)
    mu = 0.02 * numbers.standard_t(3, n) * np.repeat([1, 4, 0.5], [n // 2, n // 3, n - n // 2 - n // 3])
    mu[:: max(2, n // 7)] = 0
    sigma = np.abs(0.01 * numbers.standard_normal(n))
    return torch.tensor(mu, dtype=torch.float32), torch.tensor(sigma, dtype=torch.float32)


def sizes_of(n: int) -> list[int]:
    return [n // 2, n // 3, n - n // 2 - n // 3]
