"""Read and write the weights of a network's layers as matrices, with the bias as the last column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pwfn.curvature import Layer


@dataclass(frozen=True)
class LayerMatrix:
    """Point to the weights of one layer among those of a network.

    Attributes:
        layer: which one.
        weights: the network's tensors.
    """

    layer: Layer
    weights: Sequence[Tensor]
    _mean: Tensor | None = field(init=False)  # of the norm behind the layer, as it was

    def __post_init__(self) -> None:
        norm = self.layer.norm
        object.__setattr__(self, "_mean", norm.mean.clone() if norm is not None and self.layer.shifts else None)

    def matrix_of(self, tensors: Sequence[Tensor], shift: float = 0.0) -> Tensor:
        """Return this layer's of the network's tensors (weights, masks) as [groups, rows, columns].

        Where the norm behind it can shift the outputs, the last column says by how much: `shift`.
        """
        shape = (self.layer.groups, self.layer.rows, -1)
        matrix = torch.cat([tensors[number].detach().reshape(shape) for number in self.layer.tensors], 2)
        return F.pad(matrix, (0, 1), value=shift) if self.layer.shifts else matrix

    def free(self, masks: Sequence[Tensor] | None) -> Tensor | None:
        """Return which weights of the matrix need no value: those of `masks`, and shifts; None if none."""
        if masks is None and not self.layer.shifts:
            return None
        none = [torch.zeros_like(weight, dtype=torch.bool) for weight in self.weights] if masks is None else masks
        return self.matrix_of(none, shift=True)

    def tensors_of(self, matrix: Tensor) -> dict[int, Tensor]:
        """Return a matrix [groups, rows, columns] as flat tensors by their numbers, without shifts."""
        if self.layer.shifts:
            return {self.layer.weight: matrix[:, :, :-1].flatten()}
        if self.layer.bias is None:
            return {self.layer.weight: matrix.flatten()}
        return {self.layer.weight: matrix[:, :, :-1].flatten(), self.layer.bias: matrix[:, :, -1].flatten()}

    def write(self, matrix: Tensor) -> None:
        """Give the network these weights, and take the shifts from the running mean behind them."""
        with torch.no_grad():
            if self.layer.norm is not None and self._mean is not None:
                self.layer.norm.mean.copy_(self._mean - matrix[:, :, -1].flatten())
            for number, flat in self.tensors_of(matrix).items():
                self.weights[number].copy_(flat.view_as(self.weights[number]))


@dataclass(frozen=True)
class NetworkState:
    """Hold what the choice of values changes in a network, to put it back.

    Attributes:
        tensors: the network's weights, and the running means that take shifts.
        kept: a copy of each.
    """

    tensors: Sequence[Tensor]
    kept: Sequence[Tensor]

    @classmethod
    def of(cls, weights: Sequence[Tensor], layers: Sequence[Layer]) -> NetworkState:
        """Copy the present state of a network's weights, and of what shifts the outputs of its layers."""
        means = [layer.norm.mean for layer in layers if layer.norm is not None and layer.shifts]
        tensors = [*weights, *means]
        return cls(tensors, [one.detach().clone() for one in tensors])

    def put_back(self) -> None:
        """Write the state into the network again."""
        with torch.no_grad():
            for tensor, kept in zip(self.tensors, self.kept, strict=True):
                tensor.copy_(kept)


def running_means(network: nn.Module) -> dict[str, Tensor]:
    """Return a copy of the running mean of each norm, by its name."""
    return {name: buffer.clone() for name, buffer in network.named_buffers() if name.endswith("running_mean")}


def put_back(network: nn.Module, means: Mapping[str, Tensor]) -> None:
    """Write what `running_means` returned into the network again; moved to a device, it has other buffers."""
    buffers = dict(network.named_buffers())
    for name, before in means.items():
        buffers[name].copy_(before)
