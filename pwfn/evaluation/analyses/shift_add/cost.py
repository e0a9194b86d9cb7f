"""Count the multiplications by weights for one image, and the shifts and adds that replace them.

A value that is ±2^i ± 2^j ... with d terms (its canonical signed digits, the fewest there are) turns a multiplication
into d shifts and d - 1 adds; zero turns it into nothing at all. docs/evaluation.md states what is assumed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils import parametrize

from pwfn.bayesian.coverage import standardizes_weight
from pwfn.bayesian.gaussian_weight import GaussianWeight
from pwfn.bayesian.posterior import QUANTIZED_TYPES, quantized_tensors
from pwfn.clustering.statistics import value_counts

MOST_DIGITS = 4  # of a codebook entry; a value with more stays a multiplication


def signed_digits(values: NDArray[np.float32]) -> NDArray[np.int64]:
    """Count the powers of two, added or subtracted, that each float32 value needs at least.

    The result is that of canonical signed digits (Reitwiesner 1960); 0 for zero.
    """
    mantissa, _ = np.frexp(values.astype(np.float64))
    number = np.abs(np.ldexp(mantissa, 24)).astype(np.int64)  # the significand as a whole number
    digits: NDArray[np.int64] = np.bitwise_count(number ^ (3 * number)).astype(np.int64)
    return digits


@dataclass(frozen=True)
class Cost:
    """Count the operations with the weights of one layer, or of all, for one image.

    Of the `macs` (multiply and accumulate) of the float network, `skipped` have weight zero, `one` to `four` are that
    many shifts, and `left` stay multiplications. The bits are those of the layer's weights and bias.
    """

    macs: int = 0
    skipped: int = 0
    one: int = 0
    two: int = 0
    three: int = 0
    four: int = 0
    left: int = 0
    bits_float32: int = 0
    bits_index: int = 0
    bits_entropy: float = 0.0

    @property
    def shifts(self) -> int:
        """Count the shifts by a power of two."""
        return self.one + 2 * self.two + 3 * self.three + 4 * self.four

    @property
    def adds(self) -> int:
        """Count adds within products; each product that is not skipped is then accumulated by one add more."""
        return self.two + 2 * self.three + 3 * self.four

    @property
    def accumulations(self) -> int:
        """Count the products that are added up."""
        return self.macs - self.skipped

    def __add__(self, other: Cost) -> Cost:
        return Cost(*(getattr(self, one.name) + getattr(other, one.name) for one in fields(self)))

    def flat(self) -> dict[str, float]:
        """Return a row of bill.csv."""
        own = {one.name: getattr(self, one.name) for one in fields(self)}
        return {**own, "shifts": self.shifts, "adds": self.adds, "accumulations": self.accumulations}


@dataclass(frozen=True)
class Layer:
    """Hold the cost of one layer; `uses` is how often each of its weights is multiplied for one image."""

    name: str
    weights: int
    uses: int
    cost: Cost


@dataclass(frozen=True)
class OperationCounts:
    """Hold all layers that could be counted.

    `uncounted` names quantized tensors that no counted layer multiplies by.
    """

    layers: list[Layer]
    uncounted: list[str]

    @property
    def total(self) -> Cost:
        """Return the cost of all layers together."""
        return sum((layer.cost for layer in self.layers), Cost())


def count_operations(network: nn.Module, image: Tensor) -> OperationCounts:
    """Count the operations at the mean weights, in one forward pass of `image` [1, C, H, W]."""
    uses = weight_uses(network, image)
    tensors = quantized_tensors(network)
    counts = {id(tensor.gaussian): value_counts(tensor.mu) for tensor in tensors}
    bits = _code_lengths(list(counts.values()))
    width = max(len(bits) - 1, 0).bit_length()
    costs: dict[str, list[Any]] = {}
    uncounted = []
    for tensor in tensors:
        times, layer = uses.get(id(tensor.gaussian)), tensor.name.rpartition(".")[0]
        if times is None and not tensor.gaussian.is_bias:
            uncounted.append(tensor.name)
            continue
        values, occur = (one.cpu().numpy() for one in counts[id(tensor.gaussian)])
        cost = _cost(values, occur, times or 0, width, bits)
        costs.setdefault(layer, [0, 0, Cost()])
        before = costs[layer]
        costs[layer] = [before[0] + int(occur.sum()), max(before[1], times or 0), before[2] + cost]
    return OperationCounts([Layer(name, *one) for name, one in costs.items()], uncounted)


def _cost(values: Any, occur: Any, times: int, width: int, bits: dict[float, float]) -> Cost:
    digits = np.minimum(signed_digits(values), MOST_DIGITS + 1)
    by_digits = np.bincount(digits, weights=occur, minlength=MOST_DIGITS + 2).astype(np.int64) * times
    count = int(occur.sum())
    entropy = sum(bits[value] * n for value, n in zip(values.tolist(), occur.tolist(), strict=True))
    zero, one, two, three, four, left = by_digits.tolist()
    return Cost(count * times, zero, one, two, three, four, left, 32 * count, width * count, entropy)


def _code_lengths(counts: list[tuple[Tensor, Tensor]]) -> dict[float, float]:
    """Return -log2 of each value's share of all weights: its bits in an ideal code."""
    totals: dict[float, int] = {}
    for values, occur in counts:
        for value, count in zip(values.tolist(), occur.tolist(), strict=True):
            totals[value] = totals.get(value, 0) + count
    all_of_them = sum(totals.values())
    return {value: -math.log2(count / all_of_them) for value, count in totals.items()}


@torch.no_grad()
def weight_uses(network: nn.Module, image: Tensor) -> dict[int, int]:
    """Count how often each weight of a linear or convolution layer is multiplied for one image.

    The keys are the ids of the Gaussians. Every weight of such a layer is used equally often: at each place of the
    output of a convolution (positions of padding included, as is usual), at each place of the input of a transposed
    one, for each row that a linear layer is given. Layers that compute with other weights than they hold (weight
    standardization) are left out.
    """
    uses: dict[int, int] = {}
    network.eval()
    with ExitStack() as block:
        for module in network.modules():
            if isinstance(module, QUANTIZED_TYPES) and not standardizes_weight(module):
                gaussian = _gaussian(module)
                if gaussian is not None:
                    block.enter_context(_counted(module, gaussian, uses))
        network(image)
    return uses


def _gaussian(module: nn.Module) -> GaussianWeight | None:
    if not parametrize.is_parametrized(module, "weight"):
        return None
    first = module.parametrizations["weight"][0]  # type: ignore[index]
    return first if isinstance(first, GaussianWeight) else None


@contextmanager
def _counted(module: nn.Module, gaussian: GaussianWeight, uses: dict[int, int]) -> Iterator[None]:
    def count(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if isinstance(layer, nn.Linear):
            times = output.numel() // layer.out_features
        else:
            places = inputs[0] if layer.transposed else output
            times = math.prod(places.shape[2:]) * places.shape[0]
        uses[id(gaussian)] = uses.get(id(gaussian), 0) + times

    handle = module.register_forward_hook(count)
    try:
        yield
    finally:
        handle.remove()
