"""Watch the weights and biases of a network."""

from __future__ import annotations

from torch import nn

from pwfn.curvature import Watched


def watched_of(network: nn.Module) -> Watched:
    return Watched(network, [p for name, p in network.named_parameters() if name.endswith(("weight", "bias"))])
