"""Mean and variance of a quantity in every cluster, in one pass over the weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from pwfn.clustering.chunking import chunks, look_up

LANES = 8  # sums kept per group, in turn, so that an addition need not wait for the one before it in the same group
FEW = 1 << 10  # so many groups and more need no lanes


def grouped_moments(group: Tensor, groups: int, values: Callable[[slice], Tensor]) -> tuple[Tensor, Tensor]:
    """Mean and (population) variance, float64 [groups], of `values` (float64, given for a slice of the elements) in
    the groups `group` (int32 [N], -1 = in none). Both are 0 in a group without members.

    Squares are summed about the mean of the group within the chunk, and brought to the mean of all chunks in the end
    (Chan, Golub and LeVeque 1983): as exact as two passes, where sums of plain squares would cancel.
    """
    parts = chunks(group.numel(), group.device)
    lanes = LANES if groups < FEW else 1
    lane = torch.arange(parts[0].stop, dtype=torch.int32, device=group.device) % lanes + lanes  # group -1 begins at 0
    size = (groups + 1) * lanes
    # Made before the first chunk: a result of each chunk, kept among its temporaries, would leave the heap in pieces.
    moments = torch.empty(3, len(parts), size, dtype=torch.float64, device=group.device)
    with _in_fixed_order(group.device):
        for number, part in enumerate(parts):
            x = values(part)
            slot = torch.add(lane[: x.numel()], group[part], alpha=lanes).to(torch.int64)
            count = x.new_zeros(size).scatter_add_(0, slot, torch.ones_like(x))
            mean = x.new_zeros(size).scatter_add_(0, slot, x).div_(count.clamp(min=1))
            squares = x.new_zeros(size).scatter_add_(0, slot, x.sub(look_up(mean, slot)).square_())
            torch.stack([count, mean, squares], out=moments[:, number])
    count, mean, squares = moments.view(3, len(parts), groups + 1, lanes)[:, :, 1:]
    total = count.sum((0, 2)).clamp(min=1)
    overall = (count * mean).sum((0, 2)) / total
    return overall, (squares + count * (mean - overall[:, None]).square()).sum((0, 2)) / total


@contextmanager
def _in_fixed_order(device: torch.device) -> Iterator[None]:
    """On a GPU, let sums be added up in the same order each time."""
    before, warn_only = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    if device.type != "cpu":
        torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warn_only)
