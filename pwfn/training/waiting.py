"""Keep the host from waiting for a GPU where it need not."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def is_free_to_read(tensor: Tensor) -> bool:
    """Return whether the host can read a tensor without waiting until a GPU has done all work given to it."""
    return tensor.device.type == "cpu"


def move_to_cpu(module: nn.Module) -> None:
    """Move a module to the CPU, from CUDA into pinned memory: all copies are queued and waited for once."""
    devices = {parameter.device for parameter in module.parameters() if parameter.is_cuda}
    module.to("cpu", non_blocking=bool(devices))
    for device in devices:
        torch.cuda.synchronize(device)
