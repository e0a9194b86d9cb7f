"""Choose where a run's metrics go besides its folder: W&B, TensorBoard, a CSV file, or nowhere."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from typing_extensions import override

from pwfn.config.secrets import without_secrets
from pwfn.errors import Fault, InvalidValueError, require
from pwfn.monitoring.round_logger import OfLightning, RoundLogger

if TYPE_CHECKING:  # a sweep's parent process only reads this module, and must not pay for importing it
    from pytorch_lightning.loggers import Logger


def run_logger(logger: Logger | None) -> RoundLogger:
    """Return whatever a trainer has for a logger as one that can be sent everything."""
    return logger if isinstance(logger, RoundLogger) else OfLightning(logger)


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
        """

    def group_of(self, sweep: str | None) -> str | None:
        """Return the group in which the logger shows a run of `sweep`, or of none."""
        return sweep

    def close(self, logger: Logger | None, exit_code: int) -> None:
        """End the run's log, however the run has ended; 0 says that it succeeded."""
        if logger is not None:
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
        from pwfn.monitoring.file_loggers import CsvRunLogger

        return CsvRunLogger(folder, name="training")


@dataclass(frozen=True, kw_only=True)
class TensorBoard(LoggerSpec):
    """Log event files to <folder>/tensorboard; needs the extra `tensorboard`."""

    def __post_init__(self) -> None:
        if find_spec("tensorboard") is None:
            there = "csv, none or wandb: TensorBoard is not installed (pip install 'pwfn[tensorboard]')"
            raise InvalidValueError([Fault("_target_", "pwfn.monitoring.TensorBoard", there)])

    @override
    def build(
        self, *, config: dict[str, Any], name: str, folder: Path, group: str | None, run_id: str | None = None
    ) -> Logger:
        from pwfn.monitoring.file_loggers import TensorBoardRunLogger

        return TensorBoardRunLogger(folder, config)


@dataclass(frozen=True, kw_only=True)
class Wandb(LoggerSpec):
    """Log to Weights & Biases.

    Args:
        project: at W&B; a name without slashes, backslashes, #, ?, % or :.
        mode: `offline` keeps everything for `wandb sync`, `disabled` sends and writes nothing.
        entity: a user or a team; None: the default one.
        group: under which W&B shows the run; None: the sweep's name.
        job_type: as W&B has it.
        tags: of the run.
        notes: of the run.
        save_dir: the folder in which W&B makes its own; . is the one that the run was started in.
        artifact: whether the run's result is uploaded.
    """

    project: str = "pwfn"
    mode: Literal["offline", "online", "disabled"] = "offline"
    entity: str | None = None
    group: str | None = None
    job_type: str = "train"
    tags: tuple[str, ...] = ()
    notes: str | None = None
    save_dir: str = "."
    artifact: bool = True

    def __post_init__(self) -> None:
        tags: Any = self.tags
        require(
            self,
            project=(bool(self.project) and not set(self.project) & set("/\\#?%:"), "a name without / \\ # ? % :"),
            mode=(self.mode in ("offline", "online", "disabled"), "offline, online or disabled"),
            tags=(isinstance(tags, Sequence) and not isinstance(tags, str), "a list of words, as in [paper, resnet18]"),
            save_dir=(bool(self.save_dir), "a folder; . is the one the run was started in"),
        )
        object.__setattr__(self, "tags", tuple(map(str, tags)))  # a config hands over its own kind of list

    @override
    def build(
        self, *, config: dict[str, Any], name: str, folder: Path, group: str | None, run_id: str | None = None
    ) -> Logger:
        import wandb

        from pwfn.monitoring.wandb_logger import RunLogger

        return RunLogger(
            artifact=self.artifact,
            name=name,
            id=run_id,
            project=self.project,
            save_dir=self.save_dir,
            mode=self.mode,
            entity=self.entity,
            group=self.group_of(group),
            job_type=self.job_type,
            tags=list(self.tags),
            notes=self.notes,
            config=without_secrets(config),
            # quiet: its closing summary would repeat the table of rounds. In a terminal it would record every frame of
            # the live view, megabytes an hour.
            settings=wandb.Settings(quiet=True, console="off" if sys.stdout.isatty() else "auto"),
        )

    @override
    def group_of(self, sweep: str | None) -> str | None:
        return self.group or sweep

    @override
    def close(self, logger: Logger | None, exit_code: int) -> None:
        """Finish the W&B run. Without this the next run of the process would be written into this one."""
        if logger is not None:
            logger.close(exit_code)  # type: ignore[attr-defined]
