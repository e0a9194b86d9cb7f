"""Read a Bayesian network's state dict as that of the model it was made from."""

from __future__ import annotations

import re

from torch import Tensor, nn

from pwfn.bayesian.gaussian_weight import GaussianWeight
from pwfn.bayesian.posterior import quantized_tensors

MEAN = re.compile(r"parametrizations\.(\w+)\.original$")  # how torch calls the parameter under a parametrization


def plain_state(network: nn.Module) -> dict[str, Tensor]:
    """Return the state dict that `network` has as an ordinary model whose weights are the means.

    Args:
        network: a Bayesian network, or an ordinary model, whose own state dict is returned.

    Returns:
        The tensors themselves, not copies, under the names of the ordinary model. Sigmas and assignments are left out.

    Raises:
        ValueError: an entry of the state dict is no tensor.
    """
    gaussians = gaussians_by_mean(network)
    own = {id(t) for g in gaussians.values() for t in (g.sigma, g.assignment, g.retrain_sigma)}
    state = {}
    for key, tensor in network.state_dict(keep_vars=True).items():
        if id(tensor) in own:
            continue
        if not isinstance(tensor, Tensor):
            raise ValueError(f"{key!r} of the state dict is no tensor")
        state[MEAN.sub(r"\1", key) if id(tensor) in gaussians else key] = tensor
    return state


def gaussians_by_mean(network: nn.Module) -> dict[int, GaussianWeight]:
    """Return the Gaussian of each quantized tensor under the `id` of its mean."""
    return {id(tensor.mu): tensor.gaussian for tensor in quantized_tensors(network)}
