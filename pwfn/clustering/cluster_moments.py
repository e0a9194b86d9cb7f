"""Count, mean and variance of a quantity in every cluster, in two passes over the weights."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pwfn.clustering.chunking import chunks


def cluster_moments(
    cluster: Tensor, clusters: int, quantity: Callable[[slice], Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the number of members, the mean and the population variance of a quantity in every cluster.

    The second pass sums squares about the mean of the cluster, where sums of squares about zero would cancel.

    Args:
        cluster: The cluster of each weight, int32 [N]; -1 = in none.
        clusters: How many clusters there are, at least 0.
        quantity: Gives the quantity of the weights of a slice, float64.

    Returns:
        Counts (int64), means and variances (float64), each [clusters]; 0 for a cluster without members.
    """
    size = clusters + 1  # the weights without a cluster are counted first, as bincount takes no -1
    count = torch.zeros(size, dtype=torch.int64)
    total, squares = torch.zeros(2, size, dtype=torch.float64)
    for chunk in chunks(cluster.numel()):
        row = cluster[chunk] + 1
        count += torch.bincount(row, minlength=size)
        total += torch.bincount(row, weights=quantity(chunk), minlength=size)
    per = count.clamp(min=1)
    mean = total / per
    for chunk in chunks(cluster.numel()):
        row = cluster[chunk] + 1
        deviation = quantity(chunk) - mean.index_select(0, row)
        squares += torch.bincount(row, weights=deviation.square_(), minlength=size)
    return count[1:], mean[1:], (squares / per)[1:]
