"""Choose where a run's metrics go besides its folder: TensorBoard, a CSV file, or nowhere."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from pwfn.errors import Fault, InvalidValueError
from pwfn.monitoring.loggers.round_logger import OfLightning, OneRunLogger, RoundLogger

if TYPE_CHECKING:  # a sweep's parent process only reads this module, and must not pay for importing it
    from pytorch_lightning.loggers import Logger


def run_logger(logger: Logger | None) -> RoundLogger:
    """Return whatever a trainer has for a logger as one that can be sent everything."""
    return logger if isinstance(logger, RoundLogger) else OfLightning(logger)


def require_extra(package: str, logger: str) -> None:
    """Refuse a class of loggers whose package, an extra of the same name, is not installed."""
    if find_spec(package) is None:
        there = f"csv, none or wandb: {package} is not installed (pip install 'pwfn[{package}]')"
        raise InvalidValueError([Fault("_target_", f"pwfn.monitoring.{logger}", there)])


@dataclass(frozen=True, kw_only=True)
class LoggerSpec(ABC):
    """Describe a logger. It is cheap to make: Lightning and W&B are imported by `build`."""

    @abstractmethod
    def build(
        self, *, config: dict[str, Any], name: str, folder: Path, group: str | None, run_id: str | None = None
    ) -> Logger | None:
        """Make the logger of one run.

        Args:
            config: the resolved configuration, as nested dicts and lists.
            name: of the run, for people.
            folder: of the run.
            group: name of the sweep it belongs to; None outside of one.
            run_id: name of the run for machines, the same whenever it is resumed; None: a new one.

        Returns:
            The logger; None where nothing is logged.
        """

    def group_of(self, sweep: str | None) -> str | None:
        """Return the group in which the logger shows a run of `sweep`, or of none."""
        return sweep

    def name_of(self, chosen: str | None, otherwise: str) -> str:
        """Return the name of a new run: the one that was chosen, else `otherwise`."""
        return chosen or otherwise

    def new_run_id(self, sweep: str | None) -> str | None:
        """Return the id of a new run of `sweep`, or of none, where one is prescribed."""
        del sweep  # for W&B, where the environment may prescribe one
        return None

    def for_evaluation(self) -> LoggerSpec:
        """Return the logger of an evaluation."""
        return self

    @property
    def remarks(self) -> list[str]:
        """Return a line for each setting that is allowed, but may not be what was meant."""
        return []

    def remarks_on(self, name: str, run_id: str) -> list[str]:
        """Return a line for each thing that the environment says of a run and that is not so."""
        del name, run_id  # for W&B, whose environment says such things
        return []

    def close(self, logger: Logger | None, exit_code: int) -> None:
        """End the run's log, however the run has ended; 0 says that it succeeded.

        Without this the next W&B run of the process would be written into this one.
        """
        if isinstance(logger, OneRunLogger):
            logger.close(exit_code)
        elif logger is not None:
            logger.finalize("success" if exit_code == 0 else "failed")


@dataclass(frozen=True, kw_only=True)
class NoLogger(LoggerSpec):
    """Log nowhere: the files in the run's folder are all there is."""

    @override
    def build(
        self, *, config: dict[str, Any], name: str, folder: Path, group: str | None, run_id: str | None = None
    ) -> None:
        return None


@dataclass(frozen=True, kw_only=True)
class Csv(LoggerSpec):
    """Log to <folder>/training/version_<n>/metrics.csv, a new version for every resume."""

    @override
    def build(
        self, *, config: dict[str, Any], name: str, folder: Path, group: str | None, run_id: str | None = None
    ) -> Logger:
        from pwfn.monitoring.loggers.file_loggers import CsvRunLogger

        return CsvRunLogger(folder, name="training")


@dataclass(frozen=True, kw_only=True)
class TensorBoard(LoggerSpec):
    """Log event files to <folder>/tensorboard; needs the extra `tensorboard`."""

    def __post_init__(self) -> None:
        require_extra("tensorboard", "TensorBoard")

    @override
    def build(
        self, *, config: dict[str, Any], name: str, folder: Path, group: str | None, run_id: str | None = None
    ) -> Logger:
        from pwfn.monitoring.loggers.file_loggers import TensorBoardRunLogger

        return TensorBoardRunLogger(folder, config)
