"""The implementations of the kernels that tests compare."""

from __future__ import annotations

import pytest

from pwfn.bayesian.kernels.choice import KERNELS
from pwfn.bayesian.kernels.reference import Reference

IMPLEMENTATIONS = list(KERNELS)


def implementation(name: str) -> Reference:
    """Return the kernels called `name`; skip the test where their package is not installed."""
    kernels = KERNELS[name]()
    if kernels is None:
        pytest.skip(f"the package of {name} is not installed")
    assert isinstance(kernels, Reference)
    return kernels
