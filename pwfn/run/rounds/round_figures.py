"""Count what the record of a round says of its clustering."""

from __future__ import annotations

from typing import Any

from pwfn.bayesian.flat_weights import FlatWeights
from pwfn.bayesian.gaussian_weight import FREE
from pwfn.bayesian.prior import MIN_SIGMA
from pwfn.clustering import statistics
from pwfn.clustering.cluster_result import ClusterResult


def round_figures(
    before: FlatWeights, result: ClusterResult, rows: list[dict[str, Any]], sizes: list[int]
) -> dict[str, Any]:
    """Return the figures of a clustering, by the names of `RoundRecord`'s fields.

    Args:
        before: the weights that were clustered.
        result: of the clustering.
        rows: one for every centroid, as in clusters.csv.
        sizes: weights of each tensor.
    """
    values, counts = statistics.network_values(result.mu, result.assignment, result.codebook)
    tensor_values, tensor_bits = statistics.values_of_tensors(result.mu, result.assignment, result.codebook, sizes)
    sigma = result.sigma.clamp(min=MIN_SIGMA)
    return {
        "codebook_size": result.codebook.numel(),
        "unique_weights": values.numel(),
        "entropy_bits": statistics.entropy_bits(counts),
        "threshold": result.threshold,
        "order_share": statistics.order_shares(rows, before.mu.numel()),
        "sigma_mean": sigma.double().mean().item(),
        "sigma_median": sigma.median().item(),
        "sigma_max": sigma.max().item(),
        "moved": moved_weights(before, result),
        "tensor_values": tensor_values,
        "tensor_entropy_bits": tensor_bits,
    }


def moved_weights(before: FlatWeights, result: ClusterResult) -> int:
    """Count the weights that were fixed before, are fixed now, and sit on another centroid."""
    both = (before.assignment != FREE) & (result.assignment != FREE)
    return int((both & (before.mu != result.mu)).sum())
