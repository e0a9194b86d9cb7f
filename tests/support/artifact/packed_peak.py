"""Print the bytes at the peak of a packed model's forward pass, and those of the float weights of one of its layers.

Measured as the kernel counts (Linux), in a process of its own: `python -m tests.support.artifact.packed_peak`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

from pwfn.artifact.packed import Lookup, SharedTable
from pwfn.artifact.packed.lookup import attach

SIDE, LAYERS = 2048, 3
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def held(key: str) -> int:
    return next(int(line.split()[1]) * 1024 for line in STATUS.read_text().splitlines() if line.startswith(f"{key}:"))


def model() -> nn.Module:
    table = SharedTable(torch.linspace(-1, 1, 16))
    with torch.device("meta"):
        network = nn.Sequential(*(nn.Linear(SIDE, SIDE, bias=False) for _ in range(LAYERS)))
    for layer in network:
        symbols = np.random.default_rng(0).integers(0, 16, (SIDE, SIDE), dtype=np.uint8)
        attach(layer, "weight", Lookup.of(table, symbols))
    return network


def main() -> None:
    if not os.access(CLEAR, os.W_OK):
        sys.exit(f"{CLEAR} is not writable")
    network, given = model(), torch.randn(1, SIDE)
    with torch.inference_mode():
        network(given)
        before = held("VmRSS")
        CLEAR.write_text("5")
        network(given)
    print(held("VmHWM") - before, 4 * SIDE * SIDE)


if __name__ == "__main__":
    main()
