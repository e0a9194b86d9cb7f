"""Count the weights at each entry of a codebook, price merges of entries, and apply them to a network."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pwfn.bayesian.gaussian_weight import FREE
from pwfn.bayesian.posterior import quantized_tensors
from pwfn.clustering.statistics import value_counts
from pwfn.clustering.tolerance import MIN_TOLERANCE
from pwfn.errors import RunError
from pwfn.evaluation.metrics import Numbers, Whole

MOST_ENTRIES = 1 << 16  # more distinct values are no codebook


@dataclass(frozen=True)
class Usage:
    """Hold the codebook of a network and the weights at its entries.

    Attributes:
        values: the entries [K], ascending.
        layers: the names of the tensors.
        counts: weights at each entry [layers, K].
        stiffness: what it costs to move all weights of an entry by a distance of 1 [K]: in sigmas the sum of 1/sigma
            over them (sigma at least 2^-20, as in clustering), in weight units their number.
    """

    values: NDArray[np.float32]
    layers: list[str]
    counts: Whole
    stiffness: Numbers

    @property
    def totals(self) -> Whole:
        """Return the weights at each entry [K]."""
        totals: Whole = self.counts.sum(0)
        return totals


@dataclass(frozen=True)
class Merge:
    """Move all weights of an entry to another one.

    Attributes:
        value: the entry that is given up.
        into: the entry that they move to.
        weights: how many they are.
        cost: the sum of their moves.
    """

    value: float
    into: float
    weights: int
    cost: float


def usage(network: nn.Module, *, in_sigmas: bool) -> Usage:
    """Count the entries of a clustered network; moves cost sigmas, or else weight units.

    Raises RunError for a network whose weights do not share values.
    """
    tensors = quantized_tensors(network)
    values, _ = value_counts(torch.cat([tensor.mu.detach().flatten() for tensor in tensors]))
    if values.numel() > MOST_ENTRIES:
        raise RunError(f"codebook: the network has {values.numel():,} distinct values: it is not clustered to the end")
    counts, stiffness = [], torch.zeros(values.numel(), dtype=torch.float64, device=values.device)
    for tensor in tensors:
        place = places(values, tensor.mu)
        counts.append(torch.bincount(place, minlength=values.numel()))
        sigma = tensor.gaussian.effective_sigma.flatten().double().clamp(min=MIN_TOLERANCE)
        stiffness += torch.bincount(place, weights=1 / sigma if in_sigmas else None, minlength=values.numel())
    names = [tensor.name for tensor in tensors]
    return Usage(values.cpu().numpy(), names, torch.stack(counts).cpu().numpy(), stiffness.cpu().numpy())


def places(values: Tensor, weights: Tensor) -> Tensor:
    """Return the index of each weight, flat, in the sorted values; each must be one of them."""
    return torch.searchsorted(values, weights.detach().flatten() + 0.0)


def cheapest_merge(values: Numbers, stiffness: Numbers, totals: Whole, index: int) -> Merge:
    """Price the merge of one entry into the nearer of its two neighbors, of equally near ones the smaller.

    Args:
        values: the entries [K], ascending, at least two.
        stiffness: the cost of moving all weights of an entry by a distance of 1 [K].
        totals: the weights at each entry [K].
        index: the entry that is merged.

    Returns:
        The merge, with its cost.
    """
    neighbors = [n for n in (index - 1, index + 1) if 0 <= n < len(values)]
    into = min(neighbors, key=lambda n: abs(values[n] - values[index]))
    cost = abs(values[into] - values[index]) * stiffness[index]
    return Merge(float(values[index]), float(values[into]), int(totals[index]), float(cost))


def merges_down_to(used: Usage, max_size: int) -> list[Merge]:
    """Choose the cheapest merge, then the cheapest of what remains, until `max_size` entries are left.

    A merged weight moves on with the entry it is in. Of equally cheap merges the one of the smaller value comes first.
    """
    values, stiffness, totals = used.values.astype(np.float64), used.stiffness.copy(), used.totals.copy()
    done = []
    while len(values) > max(max_size, 1):
        choices = (cheapest_merge(values, stiffness, totals, index) for index in range(len(values)))
        best = min(choices, key=lambda merge: merge.cost)
        done.append(best)
        gone, into = (int(np.searchsorted(values, value)) for value in (best.value, best.into))
        stiffness[into] += stiffness[gone]
        totals[into] += totals[gone]
        values, stiffness, totals = np.delete(values, gone), np.delete(stiffness, gone), np.delete(totals, gone)
    return done


def apply_merges(network: nn.Module, used: Usage, merges: list[Merge]) -> None:
    """Move the weights, in place, and renumber their assignments by the entries that are left.

    Sigmas do not change.

    Args:
        network: the Bayesian network that `used` was counted in.
        used: its entries and the weights at them.
        merges: the merges, in their order.
    """
    target = {float(value): float(value) for value in used.values}
    for merge in merges:
        for value, present in target.items():
            if present == merge.value:
                target[value] = merge.into
    values = torch.from_numpy(used.values.copy())
    new = torch.tensor([target[float(value)] for value in used.values], dtype=torch.float32)
    left = torch.unique(new)
    with torch.no_grad():
        for tensor in quantized_tensors(network):
            device = tensor.mu.device
            moved = new.to(device)[places(values.to(device), tensor.mu)]
            tensor.mu.copy_(moved.view_as(tensor.mu))
            fixed = tensor.gaussian.assignment != FREE
            index = places(left.to(device), moved).view_as(fixed).to("cpu", torch.int32)
            tensor.gaussian.assignment.copy_(torch.where(fixed, index, tensor.gaussian.assignment))
