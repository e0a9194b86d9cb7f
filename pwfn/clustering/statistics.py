"""Count how many values a network has, and how many bits one of them costs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pwfn.clustering.chunking import chunks, in_one_thread
from pwfn.clustering.cluster_moments import cluster_moments

_INTEGERS = {torch.float32: torch.int32, torch.float64: torch.int64}


def value_counts(weights: Tensor) -> tuple[Tensor, Tensor]:
    """Return the distinct values of a tensor, sorted, and their counts (int64); -0.0 counts as 0.0."""
    weights = weights.detach().flatten() + 0.0
    integer = _INTEGERS.get(weights.dtype)
    if integer is None:
        values, counts = torch.unique(weights, return_counts=True)
        return values, counts
    # The bits of floats, read as integers, sort as the floats do once those of negative numbers are turned around;
    # integers are sorted three times as fast.
    keys, counts = torch.unique(_turn_negative(weights.view(integer)), return_counts=True)
    return _turn_negative(keys).view(weights.dtype), counts


def _turn_negative(bits: Tensor) -> Tensor:
    """Invert everything but the sign where the sign is set; its own inverse."""
    sign_place = torch.iinfo(bits.dtype).bits - 1
    return bits ^ ((bits >> sign_place) & torch.iinfo(bits.dtype).max)


def entropy_bits(counts: Tensor) -> float:
    """Return the entropy `-sum p log2 p`, in bits per weight, of values that occur `counts` times."""
    p = counts[counts > 0].double()
    p = p / p.sum()
    return max(0.0, float(-(p * p.log2()).sum()))


@in_one_thread()
def network_values(mu: Tensor, assignment: Tensor, codebook: Tensor) -> tuple[Tensor, Tensor]:
    """Return `value_counts(mu)` of a clustered network; fixed weights are counted by assignment.

    Args:
        mu: Means [N], on the CPU.
        assignment: Index into `codebook` of each weight, int32 [N]; -1 = free.
        codebook: The values in use, sorted.
    """
    counts = torch.bincount(assignment + 1, minlength=codebook.numel() + 1)[1:]
    entries = codebook.to(mu.dtype)
    values, total = value_counts(torch.cat([mu[assignment < 0], entries]))
    total[torch.searchsorted(values, entries)] += counts - 1  # each entry was counted once among the free weights
    return values, total


@in_one_thread()
def values_of_tensors(mu: Tensor, assignment: Tensor, codebook: Tensor, sizes: list[int]) -> tuple[int, float]:
    """Return the most distinct values of any tensor, and the tensors' mean entropy in bits per weight.

    Args:
        mu: Means [N], on the CPU.
        assignment: Index into `codebook` of each weight, int32 [N]; -1 = free.
        codebook: The values in use, sorted.
        sizes: Weights of each tensor, one after the other.
    """
    most, bits = 0, 0.0
    for own, assigned in zip(mu.split(sizes), assignment.split(sizes), strict=True):
        _, counts = network_values(own, assigned, codebook)
        most = max(most, int((counts > 0).sum()))
        bits += own.numel() * entropy_bits(counts)
    return most, bits / mu.numel()


def order_shares(rows: list[dict[str, Any]], weights: int) -> tuple[float, ...] | None:
    """Return the shares of all quantized `weights` that are fixed on sums of 0 to 4 powers of two.

    `rows` are those of `cluster_rows`; None where the values are no such sums.
    """
    tally = [0.0] * 5
    for row in rows:
        if row["order"] is None:
            return None
        tally[int(row["order"])] += row["count"] / weights
    return tuple(tally)


@in_one_thread()
def cluster_rows(
    mu: Tensor, sigma: Tensor, assignment: Tensor, codebook: Tensor, orders: Tensor | None
) -> list[dict[str, Any]]:
    """Return a row for every codebook value: its order, members, and their mu and sigma before the move.

    Args:
        mu: Means before the clustering [N], on any device.
        sigma: Standard deviations before the clustering [N], on any device.
        assignment: Index into `codebook` of each weight, int32 [N], on the CPU; -1 = free.
        codebook: The values in use, sorted.
        orders: How many terms each of them adds up, int64; None where that means nothing.
    """
    mu, sigma, size = mu.cpu(), sigma.cpu(), codebook.numel()
    count, _, mu_variance = cluster_moments(assignment, size, lambda chunk: mu[chunk].double())
    _, sigma_mean, _ = cluster_moments(assignment, size, lambda chunk: sigma[chunk].double())
    sigma_max = sigma.new_zeros(size + 1)
    for chunk in chunks(mu.numel()):  # entry 0 is that of the free weights, -1
        sigma_max.scatter_reduce_(0, assignment[chunk].long() + 1, sigma[chunk], "amax")
    columns = {
        "value": codebook.double(),
        "order": orders,
        "count": count,
        "mu_std": mu_variance.sqrt(),
        "sigma_mean": sigma_mean,
        "sigma_max": sigma_max[1:].double(),
    }
    names = list(columns)
    lists = ([None] * size if column is None else column.tolist() for column in columns.values())
    return [dict(zip(names, row, strict=True)) for row in zip(*lists, strict=True)]
