"""Make the weights that benchmarks/clustering.py clusters: normal, heavy-tailed and real ones."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pwfn.bayesian.prior import Pow2DistancePrior
from tests.support import efficientnet_lite0

LAYER = 1 << 20  # weights of one tensor, for the prior


def normal_weights(n: int) -> tuple[Tensor, Tensor]:
    """Return mu and sigma of layers of 2^20 weights, made in place: no other memory stays taken."""
    numbers = torch.Generator().manual_seed(0)
    mu, sigma = torch.empty(n), torch.empty(n)
    for layer, its_sigma in zip(mu.split(LAYER), sigma.split(LAYER), strict=True):
        layer.normal_(0, 0.03, generator=numbers)
        its_sigma.copy_(Pow2DistancePrior()(layer))
    return mu, sigma


def heavy_tailed_weights(n: int, scale: float) -> tuple[Tensor, Tensor]:
    """Return mu and sigma of weights of a student-t distribution."""
    mu = torch.from_numpy(scale * np.random.default_rng(0).standard_t(3, n)).float()
    return mu, Pow2DistancePrior()(mu)


def real_weights() -> tuple[Tensor, Tensor]:
    """Return all quantized weights of EfficientNet-Lite0, trained on ImageNet, as a run starts with them."""
    from pwfn.bayesian.flat_weights import FlatWeights
    from pwfn.bayesian.posterior import set_sigma, to_bayesian

    network = efficientnet_lite0.in_timm()
    tensors = to_bayesian(network)
    set_sigma(network, Pow2DistancePrior())
    flat = FlatWeights.of(tensors)
    return flat.mu, flat.sigma
