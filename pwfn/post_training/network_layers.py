"""Read and write the weights of a network's layers as matrices, with the bias as the last column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pwfn.curvature import Layer


@dataclass(frozen=True)
class LayerMatrix:
    """The weights of one layer among those of a network.

    Attributes:
        layer: which one.
        weights: the network's tensors.
    """

    layer: Layer
    weights: Sequence[Tensor]

    def matrix_of(self, tensors: Sequence[Tensor]) -> Tensor:
        """Return this layer's of the network's tensors (weights, masks) as [groups, rows, columns]."""
        shape = (self.layer.groups, self.layer.rows, -1)
        return torch.cat([tensors[number].detach().reshape(shape) for number in self.layer.tensors], 2)

    def tensors_of(self, matrix: Tensor) -> dict[int, Tensor]:
        """Return a matrix [groups, rows, columns] as flat tensors by their numbers."""
        if self.layer.bias is None:
            return {self.layer.weight: matrix.flatten()}
        return {self.layer.weight: matrix[:, :, :-1].flatten(), self.layer.bias: matrix[:, :, -1].flatten()}

    def write(self, matrix: Tensor) -> None:
        """Give the network these weights."""
        with torch.no_grad():
            for number, flat in self.tensors_of(matrix).items():
                self.weights[number].copy_(flat.view_as(self.weights[number]))
