"""Bring the network of a run into the form of its artifact, so that its figures are those of the file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import nn

from pwfn.artifact import ArtifactError
from pwfn.artifact.parts import plain_tensors
from pwfn.artifact.plain_form import PlainForm, PlainTensors, stored_plain
from pwfn.bayesian.state_dict import plain_state
from pwfn.errors import RunError
from pwfn.records.rounds import RoundRecord, Scores
from pwfn.run.runner import Runner
from pwfn.training.signals import StopNow

if TYPE_CHECKING:
    from pwfn.run.settings import TrainSettings

Measured = tuple[Scores, Scores | None]  # on the test images, and on the validation images where there are any


@dataclass(frozen=True)
class StoredForm:
    """Change a network, on every rank alike, to what its artifact will give back.

    Attributes:
        form: `artifact.plain`.
        network: Bayesian; changed in place in the tensors that are not quantized.
        runner: tests and validates it.
        say: is given a line about what has changed.
        last: number of the run's last record, after which nothing changes the network; a finishing is one more.
    """

    form: PlainForm
    network: nn.Module
    runner: Runner
    say: Callable[[str], None]
    last: int

    @classmethod
    def of(cls, settings: TrainSettings, network: nn.Module, runner: Runner, say: Callable[[str], None]) -> StoredForm:
        """Return the form that the settings of a run ask for.

        Args:
            settings: of the run.
            network: Bayesian.
            runner: tests and validates it.
            say: is given a line about what has changed.
        """
        return cls(settings.artifact.plain, network, runner, say, settings.rounds_in_all - 1)

    def check(self) -> None:
        """Raise RunError if the network, as it is now, cannot have this form."""
        if self.form != "exact":
            self._stored()

    def after_round(self, index: int, scores: Measured) -> Measured:
        """Call `measured` after the run's last round, if no finishing follows."""
        return self.measured(scores) if index == self.last else scores

    def measured_record(self, record: RoundRecord) -> RoundRecord:
        """Call `measured` for the last record of a run; return it with the new scores."""
        clustered, on_val = self.measured((record.clustered, record.clustered_val))
        return replace(record, clustered=clustered, clustered_val=on_val)

    def measured(self, scores: Measured) -> Measured:
        """Change the network; return its scores then, which are `scores` where nothing had to change.

        Raises:
            RunError: the network cannot have this form.
            StopNow: while it was tested; it is then as it was.
        """
        if self.form == "exact":
            return scores
        stored = self._stored()
        if stored.same:
            return scores
        state = plain_state(self.network)
        loaded = {names[0]: tensor for names, tensor in stored.loaded()}
        before = {name: state[name].detach().clone() for name in loaded}
        with torch.no_grad():
            for name, tensor in loaded.items():
                state[name].copy_(tensor)
            try:
                after = self.runner.test(), self.runner.validate()
            except StopNow:
                state = plain_state(self.network)  # anew: moved to a device, a network has other buffers
                for name, tensor in before.items():
                    state[name].copy_(tensor)
                raise
        self.say(f"artifact.plain={stored.line()}; test top1 {scores[0].top1:.2f} -> {after[0].top1:.2f} %")
        return after

    def _stored(self) -> PlainTensors:
        try:
            return stored_plain(*plain_tensors(self.network), self.form)
        except ArtifactError as error:
            raise RunError(f"artifact.{error}") from error
