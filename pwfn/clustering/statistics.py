"""Pure functions that count: how many values a network has, and how many bits one of them costs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pwfn.clustering.chunking import chunks, in_one_thread

_INTEGERS = {torch.float32: torch.int32, torch.float64: torch.int64}


def value_counts(weights: Tensor) -> tuple[Tensor, Tensor]:
    """The distinct values of a flat tensor, sorted, and how often each occurs (int64). -0.0 counts as 0.0; no NaN."""
    plain = weights.detach().flatten() + 0.0
    integer = _INTEGERS.get(plain.dtype)
    if integer is None:
        values, counts = torch.unique(plain, return_counts=True)
        return values, counts
    # The bits of floats, read as integers, sort as the floats do once those of negative numbers are turned around;
    # integers are sorted three times as fast.
    keys, counts = torch.unique(_turn_negative(plain.view(integer)), return_counts=True)
    return _turn_negative(keys).view(plain.dtype), counts


def _turn_negative(bits: Tensor) -> Tensor:
    """Everything but the sign inverted where the sign is set; its own inverse."""
    sign_place = torch.iinfo(bits.dtype).bits - 1
    return bits ^ ((bits >> sign_place) & torch.iinfo(bits.dtype).max)


def entropy_bits(counts: Tensor) -> float:
    """Shannon entropy -sum p log2 p, in bits per weight, of values that occur `counts` times (zeros allowed)."""
    p = counts[counts > 0].double()
    p = p / p.sum()
    return max(0.0, float(-(p * p.log2()).sum()))


@in_one_thread()
def network_values(mu: Tensor, assignment: Tensor, codebook: Tensor) -> tuple[Tensor, Tensor]:
    """`value_counts(mu)` of a clustered network: the fixed weights are counted by their codebook index, not sorted."""
    counts = torch.bincount(assignment + 1, minlength=codebook.numel() + 1)[1:]
    free_values, free_counts = value_counts(mu[assignment < 0])
    entries = codebook.to(mu.dtype)
    place = torch.searchsorted(free_values, entries)
    common = torch.zeros_like(counts, dtype=torch.bool)
    inside = place < free_values.numel()
    common[inside] = free_values[place[inside]] == entries[inside]
    free_counts[place[common]] += counts[common]
    # the other entries stand between the free values
    slots = place[~common] + torch.arange(int((~common).sum()), device=mu.device)
    values = mu.new_empty(free_values.numel() + slots.numel())
    total = counts.new_empty(values.numel())
    rest = torch.ones_like(total, dtype=torch.bool).index_fill_(0, slots, False)
    values[slots], total[slots] = entries[~common], counts[~common]
    values[rest], total[rest] = free_values, free_counts
    return values, total


@in_one_thread()
def values_of_tensors(mu: Tensor, assignment: Tensor, codebook: Tensor, sizes: list[int]) -> tuple[int, float]:
    """Tensor by tensor (of `sizes` weights): the most distinct values of any, and the mean entropy in bits per weight."""
    most, bits = 0, 0.0
    for own, assigned in zip(mu.split(sizes), assignment.split(sizes), strict=True):
        _, counts = network_values(own, assigned, codebook)
        most = max(most, int((counts > 0).sum()))
        bits += own.numel() * entropy_bits(counts)
    return most, bits / mu.numel()


def order_shares(rows: list[dict[str, Any]], weights: int) -> tuple[float, ...] | None:
    """Share of all quantized `weights` that are fixed on zero, on one, two, three and four powers of two.

    None where the values are no such sums.
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
    """One row per centroid in use: value, order, count, spread of its members' mu and their sigmas before the move.

    `mu` and `sigma` are flat, as they were before clustering; `assignment` holds codebook indices, -1 = free. `orders` are
    those of the codebook's values, None where they have none.
    """
    size = codebook.numel()
    count = torch.zeros(size, dtype=torch.int64, device=mu.device)
    mu_sum, sigma_sum, squares, sigma_max = torch.zeros(4, size, dtype=torch.float64, device=mu.device).unbind()
    for part in chunks(mu.numel(), mu.device):  # bin 0 is that of the free weights, -1
        bins = assignment[part] + 1
        count += torch.bincount(bins, minlength=size + 1)[1:]
        mu_sum += torch.bincount(bins, weights=mu[part].double(), minlength=size + 1)[1:]
        sigma_sum += torch.bincount(bins, weights=sigma[part].double(), minlength=size + 1)[1:]
        largest = sigma.new_zeros(size + 1).scatter_reduce_(0, bins.to(torch.int64), sigma[part], "amax")
        torch.maximum(sigma_max, largest[1:].double(), out=sigma_max)
    per = count.clamp(min=1).double()
    mean = torch.cat([mu_sum.new_zeros(1), mu_sum / per])
    for part in chunks(mu.numel(), mu.device):
        bins = assignment[part] + 1
        deviation = mu[part].double() - mean[bins]
        squares += torch.bincount(bins, weights=deviation.square_(), minlength=size + 1)[1:]
    columns = {
        "value": codebook.double(),
        "order": orders,
        "count": count,
        "mu_std": (squares / per).sqrt(),
        "sigma_mean": sigma_sum / per,
        "sigma_max": sigma_max,
    }
    names = list(columns)
    lists = ([None] * size if column is None else column.tolist() for column in columns.values())
    return [dict(zip(names, row, strict=True)) for row in zip(*lists, strict=True)]
