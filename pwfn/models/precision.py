"""Run a network on a device in a chosen precision."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch

AUTOCAST = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


@dataclass(frozen=True)
class Computing:
    """Choose the device and the precision, by its name in a Trainer, in which networks are run."""

    device: torch.device
    precision: str

    def context(self) -> AbstractContextManager[Any]:
        """Return the context in which to call a network: autocast, or none in full precision."""
        dtype = AUTOCAST.get(self.precision)
        return nullcontext() if dtype is None else torch.autocast(self.device.type, dtype=dtype)
