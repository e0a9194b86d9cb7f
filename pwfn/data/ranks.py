"""Say which rank this process is."""

from __future__ import annotations

import torch
import torch.distributed


def rank_and_world_size() -> tuple[int, int]:
    """Return rank and world size; (0, 1) outside of a process group."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1
