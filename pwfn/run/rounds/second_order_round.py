"""Run a round of second-order clustering on the network of a run."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from pwfn.bayesian.flat_weights import FlatWeights, split_among
from pwfn.bayesian.gaussian_weight import FREE
from pwfn.bayesian.posterior import QuantizedTensor, quantized_tensors
from pwfn.clustering.cluster_result import ClusterResult, move_weights
from pwfn.clustering.codebooks.codebook import Codebook, Values
from pwfn.clustering.per_tensor_limit import limit_result
from pwfn.clustering.second_order import SecondOrder, cheapest_first
from pwfn.clustering.sigma_join import SigmaJoin
from pwfn.clustering.tolerance import MIN_TOLERANCE
from pwfn.curvature import Watched
from pwfn.post_training.cluster_layers import Calibration, LayerClustering, Masks, Outcome
from pwfn.post_training.network_layers import put_back, running_means
from pwfn.post_training.ranks import Ranks
from pwfn.post_training.value_tables import fitted_values, value_tables
from pwfn.run.rounds.cluster_network import write_clusters
from pwfn.training.distributed import all_reduce_max, all_reduce_sum, broadcast_object, broadcast_tensors, is_rank_zero


@dataclass(frozen=True)
class SecondOrderRound:
    """Cluster the quantized weights of a network by the curvature of its loss, on every rank.

    Attributes:
        network: Bayesian; it is overwritten.
        rule: how much bits count, and how curvature is estimated.
        codebook: which values there are.
        sigma_join: the rule for the sigma of a cluster's members.
        images: of this rank, [images, channels, height, width], without labels.
        seed: of what is drawn.
        on_layer: is told how many layers of how many are done.
    """

    network: nn.Module
    rule: SecondOrder
    codebook: Codebook
    sigma_join: SigmaJoin
    images: Tensor
    seed: int = 0
    on_layer: Callable[[int, int], None] = lambda done, count: None

    def run(self, fraction: float) -> tuple[ClusterResult, Outcome]:
        """Fix `fraction` of all weights: those that are fixed already, and those whose moves cost least.

        What is fixed already keeps its value; what is free makes good what others do.

        Returns:
            The result, on the CPU, the same on every rank, which the network has; and what became of the layers.

        Raises:
            ValueError: on every rank, for weights or inputs that cannot be clustered.
        """
        fewest = -all_reduce_max(-len(self.images))
        if fewest < 2:
            raise ValueError(f"every process needs two images at least for curvature, one has {fewest}")
        tensors = quantized_tensors(self.network)
        before = FlatWeights.of(tensors)
        before = FlatWeights(before.mu.cpu(), before.sigma.cpu(), before.assignment.cpu())
        values, tables = self._values(before, [tensor.mu.numel() for tensor in tensors])
        held = before.assignment != FREE
        count = math.ceil(fraction * before.mu.numel())
        fixed = torch.ones_like(held)
        if count < before.mu.numel():
            fixed = self._cheapest(tensors, tables, before, held, count)
        outcome = self._clustered(tensors, tables, held, ~fixed)
        result = self._result(tensors, before, fixed, values, outcome)
        write_clusters(tensors, result, self.sigma_join.retrain)
        return result, outcome

    def _values(self, before: FlatWeights, sizes: Sequence[int]) -> tuple[Values, list[Tensor]]:
        """Return the values, as rank 0 has them, and a table for each tensor."""
        values, refusal = None, None
        if is_rank_zero():
            try:
                values = fitted_values(self.codebook, before.mu, sizes)
            except ValueError as error:
                refusal = error
        if message := broadcast_object("" if refusal is None else str(refusal)):
            raise ValueError(message) from refusal
        values = broadcast_object(values)
        return values, value_tables(values, before.mu, len(sizes))

    def _clustered(self, tensors: list[QuantizedTensor], tables: list[Tensor], held: Tensor, free: Tensor) -> Outcome:
        device = tensors[0].mu.device
        masks = None
        if bool(held.any()) or bool(free.any()):
            masks = Masks(split_among(tensors, held.to(device)), split_among(tensors, free.to(device)))
        watched = Watched(self.network, [tensor.mu for tensor in tensors])
        ranks = Ranks(all_reduce_sum, lambda tensor: broadcast_tensors([tensor.cpu()])[0].to(tensor.device))
        return LayerClustering(
            watched,
            [table.to(device) for table in tables],
            self.rule,
            Calibration.of(self.images),
            seed=self.seed,
            ranks=ranks,
            on_layer=self.on_layer,
        ).run(masks)

    def _cheapest(
        self, tensors: list[QuantizedTensor], tables: list[Tensor], before: FlatWeights, held: Tensor, count: int
    ) -> Tensor:
        """Choose the weights to fix by clustering all of them for once; the network is put back."""
        means = running_means(self.network)
        outcome = self._clustered(tensors, tables, held, torch.zeros_like(held))
        moved = FlatWeights.of(tensors).mu.cpu().double() - before.mu.double()
        cost = 0.5 * torch.cat(outcome.stiffness) * moved.square()
        cost[torch.cat(outcome.stiffness).isinf()] = math.inf  # a tensor of unknown curvature comes last
        with torch.no_grad():
            for tensor, mu in zip(tensors, split_among(tensors, before.mu), strict=True):
                tensor.mu.copy_(mu)
            put_back(self.network, means)
        return cheapest_first(cost, held, count)

    def _result(
        self, tensors: list[QuantizedTensor], before: FlatWeights, fixed: Tensor, values: Values, outcome: Outcome
    ) -> ClusterResult:
        """Renumber the values in use, join the sigmas, and write assignments and sigmas into the network."""
        now = FlatWeights.of(tensors).mu.cpu()
        in_use, number = torch.unique(now[fixed], return_inverse=True)
        clusters = torch.full(now.shape, FREE, dtype=torch.int32)
        clusters[fixed] = number.to(torch.int32)
        mu, sigma, codebook = move_weights(before.mu, before.sigma, clusters, in_use, self.sigma_join)
        moved = (now - before.mu).abs() / before.sigma.clamp(min=MIN_TOLERANCE)
        result = ClusterResult(
            torch.where(fixed, mu, now), sigma, clusters, codebook, float(moved[fixed].max()), values
        )
        if self.codebook.per_tensor_max is not None:
            stiffness = torch.cat(outcome.stiffness)
            known = stiffness.isfinite()
            stiffness[~known] = stiffness[known].mean() if bool(known.any()) else 1.0
            sizes = [tensor.mu.numel() for tensor in tensors]
            limited = limit_result(result, sizes, self.codebook.per_tensor_max, stiffness)
            result = replace(limited, values=values)
        return result
