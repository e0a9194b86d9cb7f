"""Choose the kernels that compute a draw."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import torch
from torch import Tensor

from pwfn.bayesian.kernels.interface import Kernels
from pwfn.bayesian.kernels.reference import Reference

AUTO = "auto"


@cache
def reference() -> Kernels:
    """Return the kernels in torch's operations."""
    return Reference()


@cache
def numba_cpu() -> Kernels | None:
    """Return the kernels compiled by Numba, None where it is not installed."""
    try:
        from pwfn.bayesian.kernels.numba_cpu import NumbaCPU
    except ModuleNotFoundError as error:
        if error.name != "numba":
            raise
        return None
    return NumbaCPU()


@cache
def triton_cuda() -> Kernels | None:
    """Return the kernels compiled by Triton; None without Triton or a GPU that it compiles for."""
    if not torch.cuda.is_available():
        return None
    try:
        from pwfn.bayesian.kernels.triton_cuda import TritonCUDA
    except ModuleNotFoundError as error:
        if error.name != "triton":
            raise
        return None
    return TritonCUDA()


KERNELS: dict[str, Callable[[], Kernels | None]] = {  # fastest first
    "triton_cuda": triton_cuda,
    "numba_cpu": numba_cpu,
    "reference": reference,
}
_chosen = AUTO


def backend(tensors: Sequence[Tensor]) -> Kernels:
    """Return the fastest kernels that `choose_kernels` allows and that compute with all of `tensors`.

    All of them draw the same weights up to rounding.
    """
    names = KERNELS if _chosen == AUTO else (_chosen, "reference")
    found = (KERNELS[name]() for name in names)
    return next(kernels for kernels in found if kernels is not None and kernels.supports(tensors))


def installed_kernels() -> list[str]:
    """Return what `choose_kernels` takes here: `auto`, and the kernels whose packages are installed."""
    return [AUTO, *(name for name, build in KERNELS.items() if build() is not None)]


def choose_kernels(name: str) -> None:
    """Decide for this process which kernels `backend` returns.

    Args:
        name: `auto` for the fastest, or one of `KERNELS`, which then compute wherever they support the tensors.

    Raises:
        ValueError: there are no such kernels, or their package is not installed.
    """
    global _chosen
    if name not in installed_kernels():
        raise ValueError(f"kernels = {name!r}: must be one of {', '.join(installed_kernels())}")
    _chosen = name
