"""Find the linear maps of a network, in the order in which they run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from torch import Tensor, nn

from pwfn.curvature.linear_calls import LinearCall, LinearCalls, NormCall, evaluating
from pwfn.tensor_version import tensor_version


@dataclass(frozen=True)
class Norm:
    """Describe a batch normalization that the outputs of one layer, and no others, go into unchanged.

    That nothing else uses these outputs is taken for granted.

    Attributes:
        mean: its running mean [outputs], a buffer of the network: what is added to it is taken from the outputs.
        gain: what it multiplies each output with in evaluation mode, float64 [outputs].
    """

    mean: Tensor
    gain: Tensor


@dataclass(frozen=True)
class Layer:
    """Describe one linear map of a network.

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
        """Tell whether the running mean behind it is a bias that needs no value of the codebook."""
        return self.bias is None and self.norm is not None

    @property
    def has_ones(self) -> bool:
        """Tell whether the last column is that of an input that is always 1."""
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
    calls = _Calls()
    with evaluating(network, weights, gradients=False), LinearCalls(weights, calls.add, calls.add_norm):
        network(images.to(weights[0].device))
    users = [bias for of_weight in calls.of_weight.values() for bias in {call.bias for call in of_weight}]
    layers = []
    for weight, of_weight in calls.of_weight.items():
        call, (bias, *others) = of_weight[0], list({call.bias for call in of_weight})
        own = bias if not others and users.count(bias) == 1 else None
        norm = _norm(calls.norm_of(weight))
        rows, inputs = call.kernel[0] // call.groups, call.kernel[1:].numel()
        layer = Layer(weight, own, call.groups, rows, inputs, calls.last[weight], norm)
        layers.append(replace(layer, columns=inputs + layer.has_ones))
    return layers


class _Calls:
    """Collect the calls of one forward pass, by the weight that they use."""

    def __init__(self) -> None:
        self.of_weight: dict[int, list[LinearCall]] = {}
        self.norms: dict[int, list[NormCall]] = {}  # of their outputs
        self._with_mean: dict[int | None, int] = {}  # how often each running mean was used
        self.last: dict[int, int] = {}  # the number of the last call
        # with the version of what was returned, which counts changes in place; calls keep it, so that identities stay
        self._by_output: dict[int, tuple[LinearCall, int]] = {}
        self._count = 0

    def add(self, call: LinearCall) -> None:
        self.of_weight.setdefault(call.weight, []).append(call)
        self._by_output[id(call.returned)] = (call, tensor_version(call.returned))
        self.last[call.weight] = self._count
        self._count += 1

    def add_norm(self, norm: NormCall) -> None:
        self._with_mean[id(norm.mean)] = self._with_mean.get(id(norm.mean), 0) + 1
        call, version = self._by_output.get(id(norm.given), (None, 0))
        if call is not None and tensor_version(norm.given) == version:
            self.norms.setdefault(call.weight, []).append(norm)

    def norm_of(self, weight: int) -> NormCall | None:
        """Return the one norm of the outputs of the one call of a weight, if no other outputs go into it."""
        norms = self.norms.get(weight, [])
        alone = len(self.of_weight[weight]) == len(norms) == 1 and self._with_mean[id(norms[0].mean)] == 1
        return norms[0] if alone else None


def _norm(call: NormCall | None) -> Norm | None:
    if call is None or call.mean is None or call.variance is None:
        return None
    gain = (call.variance.detach().double() + call.epsilon).rsqrt()
    return Norm(call.mean, gain if call.weight is None else gain * call.weight.detach().double())
