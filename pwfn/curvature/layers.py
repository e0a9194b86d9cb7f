"""Find the linear maps of a network, in the order in which they run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from pwfn.curvature.linear_calls import LinearCall, LinearCalls, evaluating


@dataclass(frozen=True)
class Layer:
    """One linear map of a network.

    Attributes:
        weight: which of the network's watched tensors is its weight.
        bias: which of them is its bias; None if none is.
        groups: how many maps of their own it consists of.
        rows: outputs of a group.
        columns: inputs of a group, and one for the bias.
        last_call: the number of its last call in a forward pass, counted over all layers from 0.
    """

    weight: int
    bias: int | None
    groups: int
    rows: int
    columns: int
    last_call: int

    @property
    def tensors(self) -> tuple[int, ...]:
        """Return which of the watched tensors are decided with this layer."""
        return (self.weight,) if self.bias is None else (self.weight, self.bias)


def find_layers(network: nn.Module, weights: Sequence[Tensor], images: Tensor) -> list[Layer]:
    """Return the linear maps that use one of `weights`, in the order in which they first run.

    A weight that several modules share, or that runs several times, is one layer. Its bias is in it if no other weight
    has the same one. A weight that no linear map uses as it is (one that never runs, is standardized first, or belongs
    to a norm) has no layer.

    Args:
        network: run once, in evaluation mode.
        weights: those of its parameters that are in question, weights and biases.
        images: a few images [batch, channels, height, width].
    """
    first: dict[int, LinearCall] = {}
    last: dict[int, int] = {}
    biases: dict[int, set[int | None]] = {}
    calls = 0

    def note(call: LinearCall) -> None:
        nonlocal calls
        first.setdefault(call.weight, call)
        biases.setdefault(call.weight, set()).add(call.bias)
        last[call.weight] = calls
        calls += 1

    with evaluating(network, weights, gradients=False), LinearCalls(weights, note):
        network(images.to(weights[0].device))
    users = [bias for found in biases.values() for bias in found]
    layers = []
    for weight, call in first.items():
        (bias, *others) = biases[weight]
        own = bias if not others and users.count(bias) == 1 else None
        inputs = call.kernel[1:].numel() + (own is not None)
        layers.append(Layer(weight, own, call.groups, call.kernel[0] // call.groups, inputs, last[weight]))
    return layers
