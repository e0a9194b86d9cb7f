"""Cluster a network layer by layer, each with inputs that clustered layers before it give."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from pwfn.clustering.column_loop import LayerProblem, scaled
from pwfn.clustering.second_order import (
    LayerCodes,
    SecondOrder,
    choose_layer,
    compensated,
    damped,
    nearest_places,
)
from pwfn.curvature import Layer, Moments, Watched, find_layers, input_moments, output_factors
from pwfn.curvature.output_factors import OutputFactor, shrunk
from pwfn.post_training.calibration import Calibration
from pwfn.post_training.guard import Attempt, Measured, guarded
from pwfn.post_training.network_layers import LayerMatrix
from pwfn.post_training.outcome import LayerReport, Outcome
from pwfn.post_training.ranks import Ranks
from pwfn.post_training.value_tables import within

BLOCKS = 16  # times that inputs are collected: layers between two of them see what layers before the first one give
REACH = 2.0  # times the largest weight of a layer: no value beyond is looked at


@dataclass(frozen=True)
class Masks:
    """Mark weights that are not chosen, bool, in the shape of each of the network's tensors.

    Attributes:
        held: they stay as they are.
        free: they get no value, and make good what others do.
    """

    held: Sequence[Tensor]
    free: Sequence[Tensor]


@dataclass(frozen=True)
class LayerClustering:
    """Cluster the layers of one network.

    Attributes:
        watched: the network, and its tensors to be clustered; they are overwritten.
        tables: the values on offer to each tensor, float64 and ascending.
        rule: how.
        calibration: the images of this rank.
        seed: of what is drawn.
        ranks: the other processes.
        reference: how the network answered before anything was clustered; None: as it does now.
        on_layer: is told how many layers of how many are done.
    """

    watched: Watched
    tables: Sequence[Tensor]
    rule: SecondOrder
    calibration: Calibration
    seed: int = 0
    ranks: Ranks = field(default_factory=Ranks)
    reference: Watched | None = None
    on_layer: Callable[[int, int], None] = lambda done, count: None

    def run(self, masks: Masks | None = None) -> Outcome:
        """Choose all values and write them into the network.

        Args:
            masks: which weights are not chosen; None: all are.

        Raises:
            ValueError: weights or inputs are not finite.
        """
        watched = self.watched
        if not all(bool(torch.isfinite(weight).all()) for weight in watched.weights):
            raise ValueError("the network has weights that are not finite")
        reference = self.reference or copied(watched)
        layers = find_layers(watched.network, watched.weights, self.calibration.batches[0][:2])
        factors = output_factors(watched, layers, self.calibration.batches, seed=self.seed, reduce=self.ranks.total)
        squares = self._squares(layers, factors)
        measured = Measured(watched, reference, self.calibration.held_out, self.ranks)
        stiffness = [torch.full((weight.numel(),), torch.inf, dtype=torch.float64) for weight in watched.weights]
        no_layer = self._round_the_rest(layers, masks)
        reports: list[LayerReport] = []
        size = -(-len(layers) // BLOCKS)
        divergence = measured.divergence()
        for start in range(0, len(layers), size):
            chunk = slice(start, start + size)
            moments = self._moments(layers, factors, reference, chunk)
            for layer, of_layer, factor in zip(layers[chunk], moments, squares[chunk], strict=True):
                at = LayerMatrix(layer, watched.weights)
                choosing = _Choosing(self, at, of_layer, factor, masks, measured)
                found = choosing.best(divergence)
                at.write(found.values)
                for number, flat in at.tensors_of(choosing.problem(1.0).stiffness).items():
                    stiffness[number] = flat.cpu()
                changed = found.divergence - divergence
                reports.append(LayerReport(layer.weight, found.bits, found.predicted, changed, found.price))
                divergence = found.divergence
                self.on_layer(len(reports), len(layers))
        return Outcome(reports, stiffness, no_layer, divergence)

    @cached_property
    def images(self) -> int:
        """Count the images of all ranks that make statistics."""
        return int(self.ranks.total(torch.tensor(float(sum(map(len, self.calibration.batches))))))

    @property
    def compensation(self) -> float:
        """Return how far weights make good what others cost, with so many images."""
        return self.rule.compensation_of(self.images)

    def _moments(
        self, layers: Sequence[Layer], factors: Sequence[OutputFactor], reference: Watched, chunk: slice
    ) -> list[Moments]:
        """Estimate the input factors of some of the layers, before they are damped."""
        return input_moments(
            self.watched,
            reference,
            layers[chunk],
            self.calibration.batches,
            mixtures=[factor.mixture for factor in factors[chunk]],
            shrink=1 - self.compensation,
            seed=self.seed + chunk.start,
            reduce=self.ranks.total,
        )

    def _squares(self, layers: Sequence[Layer], factors: Sequence[OutputFactor]) -> list[Tensor]:
        """Return the output factors as they count: shrunk, or all outputs of a layer alike."""
        if not self.rule.output_factors:
            return [factor.squares.mean().expand_as(factor.squares) for factor in factors]
        gains = [None if layer.norm is None else layer.norm.gain for layer in layers]
        pairs = zip(factors, gains, strict=True)
        return [shrunk(factor.squares, self.images, self.rule.shrink, gain) for factor, gain in pairs]

    def _round_the_rest(self, layers: Sequence[Layer], masks: Masks | None) -> list[int]:
        """Round what has no layer, but for what is free; return the numbers of these tensors."""
        in_layers = {number for layer in layers for number in layer.tensors}
        rest = [number for number in range(len(self.watched.weights)) if number not in in_layers]
        with torch.no_grad():
            for number in rest:
                weight, table = self.watched.weights[number], self.tables[number]
                rounded = table[nearest_places(table, weight.detach().double())].to(weight.dtype)
                weight.copy_(rounded if masks is None else torch.where(masks.free[number], weight, rounded))
        return rest


class _Choosing:
    """Choose the values of one layer, as often as it takes."""

    def __init__(
        self,
        clustering: LayerClustering,
        at: LayerMatrix,
        moments: Moments,
        factor: Tensor,
        masks: Masks | None,
        measured: Measured,
    ) -> None:
        self._clustering, self._at, self._moments, self._factor = clustering, at, moments, factor
        self._measured = measured
        self._held = None if masks is None else at.matrix_of(masks.held)
        self._free = at.free(None if masks is None else masks.free)
        self._kept = at.matrix_of(clustering.watched.weights).double()
        layer, tables = at.layer, clustering.tables
        bias = layer.weight if layer.bias is None else layer.bias
        reach = REACH * float(self._kept.abs().max())
        self._codes = LayerCodes(
            (within(tables[layer.weight], reach), within(tables[bias], reach)), bias != layer.weight
        )

    def problem(self, trust: float) -> LayerProblem:
        """Return what is to be chosen, with so much of the compensation."""
        own, cross = self._moments.own, self._moments.cross
        damping, compensation = self._clustering.rule.damping, trust * self._clustering.compensation
        return LayerProblem(
            compensated(self._kept, own, cross, damping, compensation),
            damped(own, damping, compensation),
            self._factor,
            self._at.layer.bias is not None,
            self._held,
            self._free,
        )

    def best(self, before: float) -> Attempt:
        """Choose the layer, guarded if the rule says so; `before` is the divergence with the layer as it was."""
        rule = self._clustering.rule
        if not rule.guard:
            return self._chosen(1.0, 1.0)
        return guarded(before, rule.rate, self._chosen, self._rounded)

    def _chosen(self, price: float, trust: float) -> Attempt:
        problem = self.problem(trust)
        values = choose_layer(scaled(problem, price), self._codes, self._clustering.rule, self._kept)
        return self._tried(problem, values, price)

    def _rounded(self) -> Attempt:
        problem = self.problem(0.0)
        return self._tried(problem, self._codes.rounded(problem, self._kept), 0.0)

    def _tried(self, problem: LayerProblem, values: Tensor, price: float) -> Attempt:
        """Write the values that rank 0 has found, and measure."""
        values = self._clustering.ranks.decided(values)
        self._at.write(values)
        bits, predicted = self._codes.bits(values, self._free), float(problem.cost(values).sum())
        return Attempt(values, bits, predicted, self._measured.divergence(), price)


def copied(watched: Watched) -> Watched:
    """Copy a network, and find the copies of its watched tensors."""
    memo: dict[int, object] = {}
    network = copy.deepcopy(watched.network, memo)
    return Watched(network, [memo[id(weight)] for weight in watched.weights])  # type: ignore[misc]


__all__ = ["Calibration", "LayerClustering", "LayerReport", "Masks", "Outcome", "copied"]
