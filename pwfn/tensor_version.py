"""Count the changes in place of a tensor: what has no public name in torch."""

from __future__ import annotations

from torch import Tensor


def tensor_version(tensor: Tensor) -> int:
    """Count the changes in place that `tensor` and its views have seen.

    torch 2.14 has no public name for the counter that autograd itself goes by.
    """
    return tensor._version
