"""Tell what makes the host wait for a GPU."""

from __future__ import annotations

from torch import Tensor


def is_free_to_read(tensor: Tensor) -> bool:
    """Return whether the host can read a tensor without waiting until a GPU has done all work given to it."""
    return tensor.device.type == "cpu"
