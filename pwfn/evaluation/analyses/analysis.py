"""State what every optional analysis of an evaluation has in common."""

from __future__ import annotations

from abc import ABC, abstractmethod

from pwfn.evaluation.measure import Measured, Setup
from pwfn.evaluation.settings import EvaluateSettings
from pwfn.evaluation.tables import Section


class Analysis(ABC):
    """Measure one thing more of a subject, where the settings ask for it.

    An evaluation makes one object of each analysis. It calls `check` before anything is measured, `prepare` before the
    networks are measured, and `run` after that.
    """

    def __init__(self, settings: EvaluateSettings) -> None:
        """Take the settings of the evaluation."""
        self.settings = settings

    @property
    @abstractmethod
    def wanted(self) -> bool:
        """Tell whether the settings ask for this analysis."""

    def check(self) -> None:  # noqa: B027  (most analyses need nothing)
        """Raise RunError or NotAFinishedRun for what the analysis needs and cannot find."""

    def prepare(self, setup: Setup) -> Setup:
        """Return the set-up with the networks that this analysis adds to those that are measured."""
        return setup

    @abstractmethod
    def run(self, setup: Setup, measured: Measured) -> Section | None:
        """Measure, write tables and pictures to the folder of the evaluation, and return what is shown.

        Args:
            setup: the subject, its images and the device; `setup.say` shows what goes on.
            measured: the figures of all networks.

        Returns:
            The section of evaluation.json and the tables for the console; None where the networks that were added say
            it all.
        """
