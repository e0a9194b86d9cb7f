"""Choose the values of one layer, once or as often as its guard wants."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from pwfn.clustering.column_loop import LayerProblem, scaled
from pwfn.clustering.second_order import LayerCodes, SecondOrder, choose_layer, compensated, damped
from pwfn.curvature import Moments
from pwfn.post_training.guard import Attempt, guarded
from pwfn.post_training.network_layers import LayerMatrix
from pwfn.post_training.ranks import Ranks
from pwfn.post_training.value_tables import within

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
class LayerChoice:
    """Choose the values of one layer and write them into its network.

    Attributes:
        rule: how.
        compensation: how far other weights make good what one weight's move costs, 0 to 1.
        at: the layer's weights, as they are before the choice.
        tables: the values on offer to each of the network's tensors, float64 and ascending.
        moments: of the layer's inputs.
        factor: how the loss feels each output, float64 [groups, rows].
        masks: which weights are not chosen; None: all are.
        ranks: the other processes.
    """

    rule: SecondOrder
    compensation: float
    at: LayerMatrix
    tables: Sequence[Tensor]
    moments: Moments
    factor: Tensor
    masks: Masks | None
    ranks: Ranks

    @cached_property
    def _kept(self) -> Tensor:
        return self.at.matrix_of(self.at.weights).double()

    @cached_property
    def _free(self) -> Tensor | None:
        return self.at.free(None if self.masks is None else self.masks.free)

    @cached_property
    def _codes(self) -> LayerCodes:
        layer, reach = self.at.layer, REACH * float(self._kept.abs().max())
        bias = layer.weight if layer.bias is None else layer.bias
        tables = (within(self.tables[layer.weight], reach), within(self.tables[bias], reach))
        return LayerCodes(tables, bias != layer.weight)

    def problem(self, trust: float) -> LayerProblem:
        """Return what is to be chosen, with so much of the compensation."""
        own, cross, damping = self.moments.own, self.moments.cross, self.rule.damping
        compensation = trust * self.compensation
        return LayerProblem(
            compensated(self._kept, own, cross, damping, compensation),
            damped(own, damping, compensation),
            self.factor,
            self.at.layer.bias is not None,
            None if self.masks is None else self.at.matrix_of(self.masks.held),
            self._free,
        )

    def unguarded(self, price: float) -> Attempt:
        """Choose once, believe the prediction and measure nothing.

        Args:
            price: times that moves cost more than predicted.
        """
        return self._chosen(price, 1.0, lambda: float("nan"))

    def guarded(self, before: float, measure: Callable[[], float]) -> Attempt:
        """Choose until prediction and measurement agree, as `pwfn.post_training.guard.guarded` says.

        Args:
            before: the divergence with the layer as it was, in nats.
            measure: measures the divergence of the network as it is.
        """
        found = guarded(
            before,
            self.rule.rate,
            lambda price, trust: self._chosen(price, trust, measure),
            lambda: self._rounded(measure),
        )
        self.at.write(found.values)
        return found

    def _chosen(self, price: float, trust: float, measure: Callable[[], float]) -> Attempt:
        problem = self.problem(trust)
        values = choose_layer(scaled(problem, price), self._codes, self.rule, self._kept)
        return self._tried(problem, values, measure)

    def _rounded(self, measure: Callable[[], float]) -> Attempt:
        problem = self.problem(0.0)
        return self._tried(problem, self._codes.rounded(problem, self._kept), measure)

    def _tried(self, problem: LayerProblem, values: Tensor, measure: Callable[[], float]) -> Attempt:
        """Write the values that rank 0 has found, and measure; all ranks have its figures, to go on alike."""
        values = self.ranks.decided(values)
        self.at.write(values)
        figures = [self._codes.bits(values, self._free), float(problem.cost(values).sum())]
        bits, predicted = self.ranks.decided(torch.tensor(figures, dtype=torch.float64)).tolist()
        return Attempt(values, bits, predicted, measure())
