"""Run training as a whole: its settings, its schedule, and its stages up to the artifact."""

from pwfn.run import start_from_artifact as _start_from_artifact  # noqa: F401  (makes model.pwfn readable)
from pwfn.run.ending.finishing import Finishing
from pwfn.run.rounds.schedule import Schedule
from pwfn.run.settings import TrainSettings

__all__ = ["Finishing", "Schedule", "TrainSettings"]
