"""Where a run's numbers go besides its folder: W&B, TensorBoard, a CSV file, or nowhere."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from pwfn.config.secrets import without_secrets
from pwfn.errors import Fault, InvalidValueError, require

if TYPE_CHECKING:  # a sweep's parent process only reads this module, and must not pay for importing these
    import numpy as np
    from numpy.typing import NDArray
    from pytorch_lightning.loggers import Logger

    from pwfn.monitoring.round_media import RoundView


@runtime_checkable
class RoundLogger(Protocol):
    """A Lightning logger that knows what a run is; `pwfn.records.metric_names` has all that it is sent."""

    @property
    def takes_pictures(self) -> bool:
        """Whether histograms and pictures are of any use to it: they cost time to make."""
        ...

    def start_rounds(self, keys: Iterable[str]) -> None:
        """Announce the keys of the rows to come, once the trainer exists: it is what starts a W&B run."""
        ...

    def report_round(self, flat: Mapping[str, float | int], view: RoundView | None = None) -> None:
        """Take one round's row, unchanged, and what it looks like, where that was made."""
        ...

    def report_again(self, rows: Sequence[Mapping[str, float | int]]) -> None:
        """In a resumed run: take the rounds that were finished before it, if some may have been lost."""
        ...

    def mark_preempting(self) -> None:
        """Note that the machine is taken away and the run will go on elsewhere."""
        ...

    def report_summary(self, values: Mapping[str, float | int]) -> None:
        """Take single values of the whole run."""
        ...

    def report_pictures(self, pictures: Mapping[str, NDArray[np.uint8] | Path]) -> None:
        """Take pictures: PNG files, or arrays [height, width, 3]."""
        ...

    def report_artifact(self, path: Path, metadata: Mapping[str, Any]) -> None:
        """Take the run's result, a file that stays where it is."""
        ...


def run_logger(logger: Logger | None) -> RoundLogger:
    """Whatever a trainer has for a logger, as one that can be sent everything.

    A Lightning logger that is not of this project gets the rows of rounds, filed under optimizer steps.
    """
    return logger if isinstance(logger, RoundLogger) else _Plain(logger)


@dataclass(frozen=True)
class _Plain:
    logger: Logger | None
    takes_pictures: bool = False

    def start_rounds(self, keys: Iterable[str]) -> None:
        pass

    def report_round(self, flat: Mapping[str, float | int], view: RoundView | None = None) -> None:
        if self.logger is not None:
            self.logger.log_metrics(dict(flat), step=int(flat["steps"]))
            self.logger.save()

    def report_again(self, rows: Sequence[Mapping[str, float | int]]) -> None:
        pass

    def mark_preempting(self) -> None:
        pass

    def report_summary(self, values: Mapping[str, float | int]) -> None:
        pass

    def report_pictures(self, pictures: Mapping[str, NDArray[np.uint8] | Path]) -> None:
        pass

    def report_artifact(self, path: Path, metadata: Mapping[str, Any]) -> None:
        pass


@dataclass(frozen=True, kw_only=True)
class LoggerSpec(ABC):
    """Describes a logger. Cheap to make: Lightning and W&B are imported by `build`."""

    @abstractmethod
    def build(
        self, *, config: dict[str, Any], name: str, folder: Path, group: str | None, run_id: str | None = None
    ) -> Logger | None:
        """Make the logger of one run.

        `config` is the resolved config as plain nested dicts, `folder` the run's own folder, `group` the sweep it
        belongs to. `run_id` is the run's name for machines, the same whenever it goes on; None = a new one.
        """

    def group_of(self, sweep: str | None) -> str | None:
        """The group in which the logger shows a run that belongs to `sweep`, or to none."""
        return sweep

    def close(self, logger: Logger | None, exit_code: int) -> None:
        """End the run's log, whatever happened; 0 says that the run succeeded."""
        if logger is not None:
            logger.finalize("success" if exit_code == 0 else "failed")


@dataclass(frozen=True, kw_only=True)
class NoLogger(LoggerSpec):
    """The files in the run's folder are all there is."""

    def build(
        self, *, config: dict[str, Any], name: str, folder: Path, group: str | None, run_id: str | None = None
    ) -> None:
        return None


@dataclass(frozen=True, kw_only=True)
class Csv(LoggerSpec):
    """Lightning's CSV logger: <folder>/training/version_<n>/metrics.csv, a new version for every resume."""

    def build(
        self, *, config: dict[str, Any], name: str, folder: Path, group: str | None, run_id: str | None = None
    ) -> Logger:
        from pwfn.monitoring.file_loggers import CsvRunLogger

        return CsvRunLogger(folder, name="training")


@dataclass(frozen=True, kw_only=True)
class TensorBoard(LoggerSpec):
    """Event files in <folder>/tensorboard; needs the extra `tensorboard`."""

    def __post_init__(self) -> None:
        if find_spec("tensorboard") is None:
            there = "csv, none or wandb: TensorBoard is not installed (pip install 'pwfn[tensorboard]')"
            raise InvalidValueError([Fault("_target_", "pwfn.monitoring.TensorBoard", there)])

    def build(
        self, *, config: dict[str, Any], name: str, folder: Path, group: str | None, run_id: str | None = None
    ) -> Logger:
        from pwfn.monitoring.file_loggers import TensorBoardRunLogger

        return TensorBoardRunLogger(folder, config)


@dataclass(frozen=True, kw_only=True)
class Wandb(LoggerSpec):
    """Weights & Biases. `group` None takes the sweep's name."""

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

    def build(
        self, *, config: dict[str, Any], name: str, folder: Path, group: str | None, run_id: str | None = None
    ) -> Logger:
        import wandb

        from pwfn.monitoring.wandb_logger import RunLogger

        return RunLogger(
            artifact=self.artifact,
            name=name,
            id=run_id,  # Lightning's logger also says resume="allow": an id that W&B knows goes on
            project=self.project,
            save_dir=self.save_dir,
            # not WandbLogger's `offline`, which would turn every later run of the process offline too
            mode=self.mode,
            entity=self.entity,
            group=self.group_of(group),
            job_type=self.job_type,
            tags=list(self.tags),
            notes=self.notes,
            config=without_secrets(config),
            # quiet: its closing summary would repeat the table of rounds. In a terminal it would record every frame of the
            # live view, megabytes an hour.
            settings=wandb.Settings(quiet=True, console="off" if sys.stdout.isatty() else "auto"),
        )

    def group_of(self, sweep: str | None) -> str | None:
        return self.group or sweep

    def close(self, logger: Logger | None, exit_code: int) -> None:
        """Finish the W&B run. Without this the next run of the process would be written into this one."""
        if logger is not None:
            logger.close(exit_code)  # type: ignore[attr-defined]
