"""Choose what goes into the artifact of a run, and which rounds leave one."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ArtifactSpec:
    """Choose what `model.pwfn`, which every run ends with, holds.

    Attributes:
        every_round: also write `round_<n>.pwfn` after each round before the last.
        sigma: store the sigma of every weight too, so that an ensemble can be drawn from the file.
    """

    every_round: bool
    sigma: bool
