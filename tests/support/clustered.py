"""Small clustered networks that the tests of the artifact write and read, and when two are the same."""

from __future__ import annotations

from typing import Any

import timm
import torch
from torch import Tensor, nn

from pwfn.bayesian.flat_weights import FlatWeights
from pwfn.bayesian.posterior import quantized_tensors, set_sigma, to_bayesian, to_deterministic
from pwfn.bayesian.prior import Pow2DistancePrior
from pwfn.clustering.codebooks.codebook import AdditivePow2
from pwfn.clustering.rules import Greedy
from pwfn.clustering.sigma_join import SigmaJoin, std_mu
from pwfn.run.rounds.cluster_network import cluster_network


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
    """Make a Bayesian timm network of five classes after one clustering, with BatchNorm statistics of its own."""
    torch.manual_seed(0)
    network = timm.create_model(name, num_classes=5, in_chans=channels, **args)
    with torch.no_grad():
        for key, buffer in network.named_buffers():
            if key.endswith(("running_mean", "running_var")):
                buffer.uniform_(0.5, 1.5)
            elif key.endswith("num_batches_tracked"):
                buffer.fill_(77)
    to_bayesian(network, include=include, exclude=exclude)
    set_sigma(network, Pow2DistancePrior())
    tensors = quantized_tensors(network)
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


def same_bits(one: Tensor, other: Tensor) -> bool:
    one, other = one.detach().contiguous(), other.detach().contiguous()
    return one.dtype == other.dtype and one.shape == other.shape and one.numpy().tobytes() == other.numpy().tobytes()


def assert_same_model(model: nn.Module, network: nn.Module, side: int, channels: int = 3) -> None:
    """`model` is what `network` is without its Gaussians, which are taken off in the end."""
    images = torch.randn(2, channels, side, side, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.equal(model(images), network(images))
    to_deterministic(network)
    assert type(model) is type(network)
    assert not model.training
    assert {n: type(m) for n, m in model.named_modules()} == {n: type(m) for n, m in network.named_modules()}
    state, wanted = model.state_dict(), network.state_dict()
    assert set(state) == set(wanted)
    assert [key for key in state if not same_bits(state[key], wanted[key])] == []
