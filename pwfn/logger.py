"""Where a run's numbers go besides its folder: W&B, Lightning's CSV file, or nowhere."""

from __future__ import annotations

import os
import re
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from pwfn.faults import require

if TYPE_CHECKING:  # a sweep's parent process only reads this module, and must not pay for importing these
    from pytorch_lightning.loggers import Logger

_SECRET = re.compile(r"(^|_)(token|password|passwd|secret|api_?key|credentials?)$", re.IGNORECASE)


def without_secrets(config: Any) -> Any:
    """A copy of a plain nested config in which `***` stands for every text under a key like `api_key` or `token`."""
    if isinstance(config, Mapping):
        return {
            key: "***" if isinstance(value, str) and value and _SECRET.search(str(key)) else without_secrets(value)
            for key, value in config.items()
        }
    if isinstance(config, list | tuple):
        return [without_secrets(value) for value in config]
    return config


@runtime_checkable
class RoundLogger(Protocol):
    """A Lightning logger that has its own way with the rows of rounds."""

    def start_rounds(self, keys: Iterable[str]) -> None: ...
    def report_round(self, flat: Mapping[str, float | int]) -> None: ...
    def report_again(self, rows: Sequence[Mapping[str, float | int]]) -> None: ...
    def mark_preempting(self) -> None: ...
    def report_summary(self, values: Mapping[str, float | int]) -> None: ...


def start_rounds(logger: Logger | None, keys: Iterable[str]) -> None:
    """Announce the keys of the rows to come. Call it once the trainer exists: it is what starts a W&B run."""
    if isinstance(logger, RoundLogger):
        logger.start_rounds(keys)


def report_round(logger: Logger | None, flat: Mapping[str, float | int]) -> None:
    """Send one round's row, unchanged; other Lightning loggers file it under the optimizer steps made so far."""
    if isinstance(logger, RoundLogger):
        logger.report_round(flat)
    elif logger is not None:
        logger.log_metrics(dict(flat), step=int(flat["steps"]))
        logger.save()


def report_again(logger: Logger | None, rows: Sequence[Mapping[str, float | int]]) -> None:
    """In a resumed run: the rounds that were finished before it, for loggers that may have lost some."""
    if isinstance(logger, RoundLogger):
        logger.report_again(rows)


def mark_preempting(logger: Logger | None) -> None:
    """Say that the machine is taken away and the run will go on elsewhere, for loggers that have such a thing."""
    if isinstance(logger, RoundLogger):
        logger.mark_preempting()


def report_summary(logger: Logger | None, values: Mapping[str, float | int]) -> None:
    """Set single values of the whole run, for loggers that have such a thing."""
    if isinstance(logger, RoundLogger):
        logger.report_summary(values)


@dataclass(frozen=True, kw_only=True)
class LoggerSpec(ABC):
    """Describes a logger. Cheap to make: Lightning and W&B are imported by `build`."""

    @abstractmethod
    def build(
        self, *, config: dict[str, Any], name: str, folder: Path, group: str | None, run_id: str | None = None
    ) -> Logger | None:
        """Make the logger of one run.

        `config` is the resolved config as plain nested dicts, `folder` the run's own folder, `group` the sweep it
        belongs to. `run_id` is the run's name for machines, the same in every session of it; None = a new one.
        """

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
        from pytorch_lightning.loggers import CSVLogger

        return CSVLogger(folder, name="training")


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

        logger: Logger = _wandb_logger_class()(
            online=self.mode == "online",
            name=name,
            id=run_id,  # Lightning's logger also says resume="allow": an id that W&B knows goes on
            project=self.project,
            save_dir=self.save_dir,
            # not WandbLogger's `offline`, which would turn every later run of the process offline too
            mode=self.mode,
            entity=self.entity,
            group=self.group or group,
            job_type=self.job_type,
            tags=list(self.tags),
            notes=self.notes,
            config=without_secrets(config),
            settings=wandb.Settings(quiet=True),  # its closing summary would repeat the table of rounds
        )
        return logger

    def close(self, logger: Logger | None, exit_code: int) -> None:
        """Finish the W&B run. Without this the next run of the process would be written into this one."""
        if logger is not None:
            logger.close(exit_code)  # type: ignore[attr-defined]


@contextmanager
def _no_server_lookup() -> Iterator[None]:
    """While W&B starts: have it not look up the server's address, for a run that sends nothing.

    The environment is put back at once: the next run of this process may be online. A value set by the user stays.
    """
    name = "WANDB_ERROR_REPORTING"
    if name in os.environ:
        yield
        return
    os.environ[name] = "false"
    try:
        yield
    finally:
        del os.environ[name]


@cache
def _wandb_logger_class() -> Any:
    """Made on first use: deriving it needs Lightning and W&B, which this module does not import."""
    import wandb
    from pytorch_lightning.loggers import WandbLogger

    class RunLogger(WandbLogger):
        """A run that outlives W&B: once started, a failing W&B is warned about once and then ignored."""

        def __init__(self, *, online: bool, **options: Any) -> None:
            super().__init__(**options)
            self._online = online
            self._warned = False
            # Lightning always passes it, W&B has dropped it and says so at every start.
            self._wandb_init.pop("anonymous", None)

        @property
        def experiment(self) -> Any:
            with nullcontext() if self._online or self._experiment is not None else _no_server_lookup():
                return super().experiment

        @contextmanager
        def _surviving(self) -> Iterator[None]:
            try:
                yield
            except (wandb.errors.Error, OSError) as error:
                if not self._warned:
                    self._warned = True
                    warnings.warn(
                        f"W&B run {self._name!r} failed ({error!r}). The run goes on; rounds.csv has every round.",
                        RuntimeWarning,
                        stacklevel=3,
                    )

        def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
            with self._surviving():
                super().log_metrics(metrics, step)

        def log_hyperparams(self, params: Any) -> None:
            with self._surviving():
                super().log_hyperparams(without_secrets(params))

        def start_rounds(self, keys: Iterable[str]) -> None:
            run = self.experiment  # outside the guard: a run that cannot start must say so before hours of training
            with self._surviving():
                # One by one, because only exact names take precedence over Lightning's `*` -> trainer/global_step.
                for key in keys:
                    run.define_metric(key, step_metric=None if key == "round" else "round")

        def report_round(self, flat: Mapping[str, float | int]) -> None:
            with self._surviving():
                self.experiment.log(dict(flat))  # without step: W&B's own step starts again at 0 in a resumed run

        def report_again(self, rows: Sequence[Mapping[str, float | int]]) -> None:
            """Rounds W&B does not have: an offline run begins anew under its old id, and would replace the old one."""
            with self._surviving():
                known = self.experiment.summary.get("round", -1) if self.experiment.resumed else -1
                for flat in rows:
                    if flat["round"] > known:
                        self.experiment.log(dict(flat))

        def mark_preempting(self) -> None:
            with self._surviving():
                self.experiment.mark_preempting()

        def report_summary(self, values: Mapping[str, float | int]) -> None:
            with self._surviving():
                self.experiment.summary.update(dict(values))

        def close(self, exit_code: int) -> None:
            if self._experiment is not None:
                with self._surviving():
                    self._experiment.finish(exit_code=exit_code)

    return RunLogger
