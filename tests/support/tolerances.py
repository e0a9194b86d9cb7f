"""List a tolerance rule of each kind."""

from __future__ import annotations

from pwfn.clustering.tolerance import (
    ConstantTolerance,
    FisherTolerance,
    KroneckerTolerance,
    RelativeTolerance,
    SigmaTolerance,
    Tolerance,
)

RULES: list[Tolerance] = [
    SigmaTolerance(),
    ConstantTolerance(0.004),
    RelativeTolerance(0.03),
    FisherTolerance(0.004, batches=3, floor=0.01),
    KroneckerTolerance(0.004, images=9, floor=0.01),
]
