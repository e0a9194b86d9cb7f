"""Define what a logger is told of a run; every method does nothing until a logger overrides it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typing_extensions import override

if TYPE_CHECKING:  # a sweep's parent process only reads this module, and must not pay for importing these
    import numpy as np
    from numpy.typing import NDArray
    from pytorch_lightning.loggers import Logger

    from pwfn.monitoring.loggers.round_media import RoundView


class RoundLogger:
    """Mix into a Lightning logger that knows what a run is; `pwfn.records.metric_names` lists the keys."""

    @property
    def takes_pictures(self) -> bool:
        """Tell whether histograms and pictures, which take time to make, are of any use to it."""
        return False

    def start_rounds(self, keys: Iterable[str]) -> None:
        """Announce the keys of the rows to come, once the trainer exists: it is what starts a W&B run."""

    def report_round(self, flat: Mapping[str, float | int], view: RoundView | None = None) -> None:
        """Take one round's row, unchanged, and its histograms and picture, where they were made."""

    def report_again(self, rows: Sequence[Mapping[str, float | int]]) -> None:
        """Take the rounds that were finished before a resume, where some may have been lost."""

    def mark_preempting(self) -> None:
        """Note that the machine is taken away and the run will be resumed elsewhere."""

    def report_summary(self, values: Mapping[str, float | int]) -> None:
        """Take single values of the whole run."""

    def report_pictures(self, pictures: Mapping[str, NDArray[np.uint8] | Path]) -> None:
        """Take pictures: PNG files, or arrays [height, width, 3]."""

    def report_artifact(self, path: Path, metadata: Mapping[str, Any]) -> None:
        """Take the run's result, a file that stays where it is."""


class OneRunLogger(RoundLogger):
    """Mix into a Lightning logger that has one run for all fits of a run and for what follows a resume."""

    def finalize(self, status: str) -> None:
        """Lightning calls this after every fit; `close` ends the run."""

    @abstractmethod
    def close(self, exit_code: int) -> None:
        """End the run, if it has begun, and send what is still on its way; 0 says that it succeeded."""


class OfLightning(RoundLogger):
    """Send the rows of rounds, under optimizer steps, to another project's Lightning logger, if any."""

    def __init__(self, logger: Logger | None) -> None:
        self.logger = logger

    @override
    def report_round(self, flat: Mapping[str, float | int], view: RoundView | None = None) -> None:
        if self.logger is not None:
            self.logger.log_metrics(dict(flat), step=int(flat["steps"]))
            self.logger.save()


def is_rank_0() -> bool:
    """Tell whether this process is the one that logs for all ranks of a run."""
    from pytorch_lightning.utilities import rank_zero_only

    return getattr(rank_zero_only, "rank", 0) == 0
