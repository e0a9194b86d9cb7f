"""A whole run: its settings, its schedule, and the rounds from pretraining to the artifact."""

from pwfn.run.finishing import Finishing
from pwfn.run.schedule import Schedule
from pwfn.run.settings import TrainSettings

__all__ = ["Finishing", "Schedule", "TrainSettings"]
