"""Say what became of a network that was clustered layer by layer."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class LayerReport:
    """Report what became of one layer.

    Attributes:
        weight: number of its tensor in the network.
        bits: of an ideal code, all of the layer's weights together.
        predicted: change of the divergence, in nats.
    """

    weight: int
    bits: float
    predicted: float


@dataclass(frozen=True)
class Outcome:
    """Report what became of a network.

    Attributes:
        layers: in the order in which they ran.
        stiffness: second derivative of the loss by each weight, flat, on the CPU, a tensor for each of the network's
            tensors; infinite where it is not known.
        no_layer: numbers of the tensors without a layer, which were rounded.
        divergence: measured at the end, nats.
    """

    layers: list[LayerReport]
    stiffness: list[Tensor]
    no_layer: list[int]
    divergence: float

    @property
    def bits(self) -> float:
        """Return the bits of an ideal code of all layers."""
        return sum(layer.bits for layer in self.layers)

    @property
    def predicted(self) -> float:
        """Return the divergence that the layers' predictions add up to, in nats."""
        return sum(layer.predicted for layer in self.layers)

    def cost(self, rate: float) -> float:
        """Return what the outcome costs, measured: nats, and bits at `rate` nats each."""
        return self.divergence + rate * self.bits
