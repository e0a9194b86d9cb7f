"""Put a network back to before a clustering that a signal cut short, or the test after it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pwfn.bayesian.flat_weights import FlatWeights, split_among
from pwfn.bayesian.posterior import QuantizedTensor
from pwfn.bayesian.prior import MIN_SIGMA
from pwfn.post_training.network_layers import put_back, running_means
from pwfn.randomness import random_state, set_random_state


@dataclass(frozen=True)
class Unclustered:
    """Hold what a clustering changes, on rank 0, which saves it; random streams on every rank.

    The weights are those of `FlatWeights`, which the clustering needs anyway, so nothing is copied but the sigmas that
    are smaller than it says.
    """

    tensors: list[QuantizedTensor]
    weights: FlatWeights | None
    small_sigmas: list[tuple[tuple[Tensor, ...], Tensor]]
    retrain: list[bool]
    network: nn.Module
    means: dict[str, Tensor]
    streams: dict[str, object]

    @classmethod
    def of(cls, tensors: list[QuantizedTensor], weights: FlatWeights | None, network: nn.Module) -> Unclustered:
        """Take what is there before the clustering.

        Args:
            tensors: of the network.
            weights: theirs; None on all ranks but 0.
            network: its norms' running means are kept, which second-order clustering shifts.
        """
        small, retrain = [], []
        for tensor in tensors if weights is not None else ():
            sigma = tensor.gaussian.sigma.detach()
            small.append(((sigma < MIN_SIGMA).nonzero(as_tuple=True), sigma[sigma < MIN_SIGMA]))
            retrain.append(bool(tensor.gaussian.retrain_sigma))
        return cls(tensors, weights, small, retrain, network, running_means(network), random_state())

    def restore(self) -> None:
        """Write it back."""
        set_random_state(self.streams)
        put_back(self.network, self.means)
        if self.weights is None:
            return
        flat = (self.weights.mu, self.weights.sigma, self.weights.assignment)
        pieces = zip(*(split_among(self.tensors, vector) for vector in flat), strict=True)
        with torch.no_grad():
            for number, (tensor, (mu, sigma, assignment)) in enumerate(zip(self.tensors, pieces, strict=True)):
                gaussian, (places, values) = tensor.gaussian, self.small_sigmas[number]
                tensor.mu.copy_(mu)
                gaussian.sigma.copy_(sigma)
                gaussian.sigma[places] = values.to(gaussian.sigma.device)
                gaussian.assignment.copy_(assignment)
                gaussian.retrain_sigma.fill_(self.retrain[number])
