"""Find the linear maps of a network, in the order in which they run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from torch import Tensor, nn

from pwfn.curvature.linear_calls import LinearCall, LinearCalls, NormCall, evaluating


@dataclass(frozen=True)
class Norm:
    """A batch normalization that is all that uses the outputs of a layer.

    Attributes:
        mean: its running mean [outputs], a buffer of the network: what is added to it is taken from the outputs.
        gain: what it multiplies each output with in evaluation mode, float64 [outputs].
    """

    mean: Tensor
    gain: Tensor


@dataclass(frozen=True)
class Layer:
    """One linear map of a network.

    Attributes:
        weight: which of the network's watched tensors is its weight.
        bias: which of them is its bias; None if none is.
        groups: how many maps of their own it consists of.
        rows: outputs of a group.
        columns: inputs of a group, and one for the bias, or for what the running mean of its norm takes the place of.
        last_call: the number of its last call in a forward pass, counted over all layers from 0.
        norm: the batch normalization behind it; None if there is none.
    """

    weight: int
    bias: int | None
    groups: int
    rows: int
    columns: int
    last_call: int
    norm: Norm | None = field(default=None, compare=False)

    @property
    def shifts(self) -> bool:
        """Whether the running mean behind it is a bias that needs no value of the codebook."""
        return self.bias is None and self.norm is not None

    @property
    def has_ones(self) -> bool:
        """Whether the last column is that of an input that is always 1."""
        return self.bias is not None or self.shifts

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
    outputs: dict[int, LinearCall] = {}  # by the identity of what is returned, which is kept here
    norms: dict[int, list[NormCall]] = {}
    calls = 0

    def note(call: LinearCall) -> None:
        nonlocal calls
        first.setdefault(call.weight, call)
        biases.setdefault(call.weight, set()).add(call.bias)
        last[call.weight] = calls
        outputs[id(call.returned)] = call
        calls += 1

    def note_norm(call: NormCall) -> None:
        if id(call.given) in outputs:
            norms.setdefault(outputs[id(call.given)].weight, []).append(call)

    with evaluating(network, weights, gradients=False), LinearCalls(weights, note, note_norm):
        network(images.to(weights[0].device))
    users = [bias for found in biases.values() for bias in found]
    layers = []
    for weight, call in first.items():
        (bias, *others) = biases[weight]
        own = bias if not others and users.count(bias) == 1 else None
        once = sum(other.weight == weight for other in outputs.values()) == 1
        norm = _norm(norms.get(weight, [])) if once else None
        layer = Layer(
            weight, own, call.groups, call.kernel[0] // call.groups, call.kernel[1:].numel(), last[weight], norm
        )
        layers.append(replace(layer, columns=layer.columns + layer.has_ones))
    return layers


def _norm(calls: Sequence[NormCall]) -> Norm | None:
    if len(calls) != 1 or calls[0].mean is None or calls[0].variance is None:
        return None
    gain = (calls[0].variance.detach().double() + calls[0].epsilon).rsqrt()
    return Norm(calls[0].mean, gain if calls[0].weight is None else gain * calls[0].weight.detach().double())
