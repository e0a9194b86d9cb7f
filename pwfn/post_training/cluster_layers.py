"""Cluster a network layer by layer, each with inputs that clustered layers before it give."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from pwfn.clustering.second_order import SecondOrder, nearest_places
from pwfn.curvature import Layer, Moments, Watched, find_layers, input_moments, output_factors
from pwfn.curvature.output_factors import OutputFactor, shrunk
from pwfn.post_training.calibration import Calibration
from pwfn.post_training.guard import WHOLE_TOLERATED, Attempt, Measured, believed, dearer
from pwfn.post_training.layer_choice import LayerChoice, Masks
from pwfn.post_training.network_layers import LayerMatrix, NetworkState
from pwfn.post_training.outcome import LayerReport, Outcome
from pwfn.post_training.ranks import Ranks

BLOCKS = 16  # times that inputs are collected: layers between two of them see what layers before the first one give


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
        on_layer: is told how many layers of how many are done; each walk over the layers begins anew.
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
        if not all(bool(torch.isfinite(weight).all()) for weight in self.watched.weights):
            raise ValueError("the network has weights that are not finite")
        walk = self._prepared(masks)
        best = walk.unguarded(1.0)
        rate = self.rule.rate
        changed = best.divergence - walk.divergence
        if not self.rule.guard or believed(changed, best.predicted, rate * best.bits, WHOLE_TOLERATED):
            return best
        walks = [walk.guarded]
        if rate:  # else a price changes nothing
            price = dearer(changed, best.predicted)
            walks.append(lambda: walk.unguarded(price))
        for again in walks:
            chosen = NetworkState.of(self.watched.weights, walk.layers)
            walk.before.put_back()
            found = again()
            if found.cost(rate) < best.cost(rate):
                best = found
            else:
                chosen.put_back()
        return best

    def _prepared(self, masks: Masks | None) -> _Walk:
        """Look at what every walk over the layers needs, and round what has no layer."""
        watched, batches = self.watched, self.calibration.batches
        reference = self.reference or copied(watched)
        layers = find_layers(watched.network, watched.weights, batches[0][:2])
        factors = output_factors(watched, layers, batches, seed=self.seed, reduce=self.ranks.total)
        squares = self._squares(layers, factors)
        measured = Measured(watched, reference, self.calibration.held_out, self.ranks)
        no_layer = self._round_the_rest(layers, masks)
        before = NetworkState.of(watched.weights, layers)
        start = measured.divergence()  # 0 but for what was rounded
        return _Walk(self, masks, reference, layers, factors, squares, measured, no_layer, before, start)

    @cached_property
    def images(self) -> int:
        """Count the images of all ranks that make statistics."""
        return int(self.ranks.total(torch.tensor(float(sum(map(len, self.calibration.batches))))))

    @property
    def compensation(self) -> float:
        """Return how far weights make good what others cost, with so many images."""
        return self.rule.compensation_of(self.images)

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


@dataclass(frozen=True)
class _Walk:
    """Choose layer after layer of a network, in the order in which they run.

    Attributes:
        clustering: what is asked for.
        masks: which weights are not chosen.
        reference: the network as it was.
        layers: those of the network.
        factors: how the loss feels the outputs of each layer.
        squares: the same as it counts.
        measured: the divergence from the reference.
        no_layer: numbers of the tensors without a layer.
        before: the network before its first layer is chosen.
        divergence: of that network.
    """

    clustering: LayerClustering
    masks: Masks | None
    reference: Watched
    layers: Sequence[Layer]
    factors: Sequence[OutputFactor]
    squares: Sequence[Tensor]
    measured: Measured
    no_layer: list[int]
    before: NetworkState
    divergence: float

    def unguarded(self, price: float) -> Outcome:
        """Choose each layer once, at moves that cost `price` times as much as predicted."""
        return self._through(lambda layer: layer.unguarded(price))

    def guarded(self) -> Outcome:
        """Choose each layer until it changes the network as predicted."""
        divergence = self.divergence

        def choose(layer: LayerChoice) -> Attempt:
            nonlocal divergence
            found = layer.guarded(divergence, self.measured.divergence)
            divergence = found.divergence
            return found

        return self._through(choose)

    def _through(self, choose: Callable[[LayerChoice], Attempt]) -> Outcome:
        clustering, weights = self.clustering, self.clustering.watched.weights
        stiffness = [torch.full((weight.numel(),), torch.inf, dtype=torch.float64) for weight in weights]
        reports: list[LayerReport] = []
        size = max(1, -(-len(self.layers) // BLOCKS))
        for start in range(0, len(self.layers), size):
            chunk = slice(start, start + size)
            for layer, of_layer, factor in zip(
                self.layers[chunk], self._moments(chunk), self.squares[chunk], strict=True
            ):
                at = LayerMatrix(layer, weights)
                rule, ranks = clustering.rule, clustering.ranks
                choice = LayerChoice(
                    rule, clustering.compensation, at, clustering.tables, of_layer, factor, self.masks, ranks
                )
                found = choose(choice)
                for number, flat in at.tensors_of(choice.problem(1.0).stiffness).items():
                    stiffness[number] = flat.cpu()
                reports.append(LayerReport(layer.weight, found.bits, found.predicted))
                clustering.on_layer(len(reports), len(self.layers))
        return Outcome(reports, stiffness, self.no_layer, self.measured.divergence())

    def _moments(self, chunk: slice) -> list[Moments]:
        """Estimate the input factors of some of the layers, before they are damped."""
        clustering = self.clustering
        return input_moments(
            clustering.watched,
            self.reference,
            self.layers[chunk],
            clustering.calibration.batches,
            mixtures=[factor.mixture for factor in self.factors[chunk]],
            shrink=1 - clustering.compensation,
            seed=clustering.seed + chunk.start,
            reduce=clustering.ranks.total,
        )


def copied(watched: Watched) -> Watched:
    """Copy a network, and find the copies of its watched tensors."""
    memo: dict[int, object] = {}
    network = copy.deepcopy(watched.network, memo)
    return Watched(network, [memo[id(weight)] for weight in watched.weights])  # type: ignore[misc]


__all__ = ["Calibration", "LayerClustering", "LayerReport", "Masks", "Outcome", "copied"]
