"""Choose what goes into the artifact of a run, and which rounds leave one."""

from __future__ import annotations

from dataclasses import dataclass

from pwfn.artifact.plain_form import PlainForm


@dataclass(frozen=True)
class ArtifactSpec:
    """Choose what `model.pwfn`, which every run ends with, holds.

    Attributes:
        every_round: also write `round_<n>.pwfn` after each round before the last; in the form `exact`.
        sigma: store the sigma of every weight too, so that an ensemble can be drawn from the file.
        plain: form of the tensors that are not coded, as in `pwfn.save`. The run's last figures are those of the
            network in this form.
    """

    every_round: bool
    sigma: bool
    plain: PlainForm
