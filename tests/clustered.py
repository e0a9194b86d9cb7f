"""Small clustered networks that the tests of the artifact write and read."""

from __future__ import annotations

from typing import Any

import timm
import torch
from torch import nn

from pwfn.codebook import AdditivePow2
from pwfn.network import FlatWeights, cluster_network
from pwfn.posterior import quantised_tensors, set_sigma, to_bayesian
from pwfn.prior import Pow2Distance
from pwfn.rules import Greedy
from pwfn.sigma_join import SigmaJoin, std_mu


def clustered(
    name: str,
    *,
    fraction: float = 1.0,
    channels: int = 3,
    include: tuple[str, ...] = (),
    exclude: tuple[str, ...] = (),
    sigma_join: SigmaJoin = std_mu,
    **args: Any,
) -> nn.Module:
    """A Bayesian timm network of five classes after one clustering, in evaluation mode, its statistics no longer fresh."""
    torch.manual_seed(0)
    network = timm.create_model(name, num_classes=5, in_chans=channels, **args)
    with torch.no_grad():
        for key, buffer in network.named_buffers():
            if key.endswith(("running_mean", "running_var")):
                buffer.uniform_(0.5, 1.5)
            elif key.endswith("num_batches_tracked"):
                buffer.fill_(77)
    to_bayesian(network, include=include, exclude=exclude)
    set_sigma(network, Pow2Distance())
    tensors = quantised_tensors(network)
    cluster_network(
        tensors,
        FlatWeights.of(tensors),
        fraction=fraction,
        threshold=1.0,
        rule=Greedy(),
        codebook=AdditivePow2(),
        sigma_join=sigma_join,
    )
    return network.eval()
