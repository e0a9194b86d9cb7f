"""The implementations of the kernels that tests compare.

In a process with TRITON_INTERPRET=1 those of a GPU are among them: Triton's interpreter runs them on CPU tensors.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from typing import Any

import pytest
from torch import Tensor

from pwfn.bayesian.kernels.choice import KERNELS
from pwfn.bayesian.kernels.reference import Reference


@cache
def interpreted() -> Reference:
    """Return the kernels of a GPU, for any tensors."""
    from pwfn.bayesian.kernels.triton_cuda import TritonCUDA

    class Interpreted(TritonCUDA):
        pairs = 1 << 15  # the interpreter takes as long for a small program as for a large one

        def supports(self, tensors: Sequence[Tensor]) -> bool:
            return all(tensor.dtype.itemsize == 4 and tensor.device.type == "cpu" for tensor in tensors)

    return Interpreted()


@cache
def launching_only() -> Reference:
    """Return the kernels of a GPU for any tensors, computing nothing: what they do around a launch is left."""
    from pwfn.bayesian.kernels.triton_cuda import TritonCUDA

    class LaunchingOnly(TritonCUDA):
        def supports(self, tensors: Sequence[Tensor]) -> bool:
            return True

        def _start(self, kernel: Any, programs: int, *arguments: Any) -> None:
            pass

    return LaunchingOnly()


ON_GPU = "triton_cuda"
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
if INTERPRETED:
    KERNELS[ON_GPU] = interpreted
IMPLEMENTATIONS = [name for name in KERNELS if name != ON_GPU or INTERPRETED]


def implementation(name: str) -> Reference:
    """Return the kernels called `name`; skip the test where their package is not installed."""
    kernels = KERNELS[name]()
    if kernels is None:
        pytest.skip(f"the package of {name} is not installed")
    assert isinstance(kernels, Reference)
    return kernels
