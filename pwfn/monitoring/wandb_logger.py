"""Log to W&B through Lightning's logger, which may fail at any moment without ending the run."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import numpy as np
import wandb
from numpy.typing import NDArray
from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.loggers.logger import DummyExperiment
from pytorch_lightning.utilities import rank_zero_only
from typing_extensions import override

from pwfn.config.secrets import without_secrets
from pwfn.monitoring.round_logger import RoundLogger
from pwfn.monitoring.round_media import RoundView
from pwfn.records.rounds import CLUSTER_COLUMNS

NOTHING_IS_LOST = "The run goes on, and its own folder has every round"


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


def _is_of_wandb(error: Exception) -> bool:
    """W&B's exceptions have no common class; what the operating system refuses (disk, connection) counts as its own."""
    return isinstance(error, OSError) or type(error).__module__.partition(".")[0] == "wandb"


class RunLogger(RoundLogger, WandbLogger):
    """Log to W&B, and warn once where it fails.

    A run that cannot start online goes on offline; one that cannot start at all goes on without W&B.

    Args:
        artifact: whether the run's result is uploaded.
        options: of Lightning's logger, and of wandb.init.
    """

    def __init__(self, *, artifact: bool, name: str, project: str, save_dir: str, **options: Any) -> None:
        super().__init__(name=name, project=project, save_dir=save_dir)
        self._artifact = artifact
        self._warned: set[str] = set()
        # resume: an id that W&B knows goes on
        self._options = options | {"name": name, "project": project, "dir": save_dir, "resume": "allow"}
        self._run: Any = None

    @property
    @override
    def takes_pictures(self) -> bool:
        return str(self._options["mode"]) != "disabled"

    @property
    @override
    def experiment(self) -> Any:
        """Return the W&B run, which starts when it is first wanted; on other ranks one that does nothing."""
        if self._run is None:
            self._run = self._started() if getattr(rank_zero_only, "rank", 0) == 0 else DummyExperiment()
        return self._run

    def _started(self) -> Any:
        mode = self._options["mode"]
        if mode != "disabled":
            with suppress(OSError):  # W&B says so itself, and goes to a temporary folder
                Path(self._options["dir"]).mkdir(parents=True, exist_ok=True)
        try:
            with nullcontext() if mode == "online" else _no_server_lookup():
                run = wandb.init(**self._options)
                run.define_metric("trainer/global_step")
                run.define_metric("*", step_metric="trainer/global_step", step_sync=True)
            return run
        except Exception as error:
            if not _is_of_wandb(error):
                raise
            rest = "It goes on offline: upload it later with `wandb sync`" if mode == "online" else NOTHING_IS_LOST
            self._warn(f"cannot start {mode}", error, rest)
        if mode != "online":
            return DummyExperiment()
        self._options["mode"] = "offline"
        wandb.teardown()  # its helper process would take the new run for the one that failed, and write nothing
        return self._started()

    def _warn(self, what: str, error: Exception, rest: str) -> None:
        if what not in self._warned:
            self._warned.add(what)
            warnings.warn(
                f"W&B run {self._options['name']!r} {what} ({error!r}). {rest}.", RuntimeWarning, stacklevel=4
            )

    def _tell(self, action: Callable[[Any], Any]) -> None:
        """Do something with the W&B run, if there is one."""
        run = self.experiment
        if isinstance(run, DummyExperiment):
            return
        try:
            action(run)
        except Exception as error:
            if not _is_of_wandb(error):
                raise
            self._warn("failed", error, NOTHING_IS_LOST)

    @override
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self._tell(lambda _run: super(RunLogger, self).log_metrics(metrics, step))

    @override
    def log_hyperparams(self, params: Any) -> None:
        self._tell(lambda _run: super(RunLogger, self).log_hyperparams(without_secrets(params)))

    @override
    def start_rounds(self, keys: Iterable[str]) -> None:
        def define(run: Any) -> None:
            # One by one, because only exact names take precedence over Lightning's `*` -> trainer/global_step.
            for key in keys:
                run.define_metric(key, step_metric=None if key == "round" else "round")

        self._tell(define)

    @override
    def report_round(self, flat: Mapping[str, float | int], view: RoundView | None = None) -> None:
        # without step: W&B's own step starts again at 0 in a resumed run
        self._tell(lambda run: run.log({**flat, **(_media(view) if view else {})}))

    @override
    def report_again(self, rows: Sequence[Mapping[str, float | int]]) -> None:
        # an offline run begins anew under its old id, and would replace the old one
        def repeat(run: Any) -> None:
            known = run.summary.get("round", -1) if run.resumed else -1
            for flat in rows:
                if flat["round"] > known:
                    run.log(dict(flat))

        self._tell(repeat)

    @override
    def mark_preempting(self) -> None:
        self._tell(lambda run: run.mark_preempting())

    @override
    def report_summary(self, values: Mapping[str, float | int]) -> None:
        self._tell(lambda run: run.summary.update(dict(values)))

    @override
    def report_pictures(self, pictures: Mapping[str, NDArray[np.uint8] | Path]) -> None:
        self._tell(lambda run: run.log({key: _image(picture) for key, picture in pictures.items()}))

    @override
    def report_artifact(self, path: Path, metadata: Mapping[str, Any]) -> None:
        def send(run: Any) -> None:
            artifact = wandb.Artifact(f"model-{run.id}", type="model", metadata=dict(metadata))
            # immutable: not copied to the folder that W&B keeps in the user's home
            artifact.add_file(str(path.absolute()), name=path.name, policy="immutable")
            run.log_artifact(artifact)

        if self._artifact:
            self._tell(send)

    def close(self, exit_code: int) -> None:
        """Finish the W&B run, if there is one."""
        if self._run is not None:
            self._tell(lambda run: run.finish(exit_code=exit_code))


def _image(picture: NDArray[np.uint8] | Path) -> Any:
    return wandb.Image(str(picture) if isinstance(picture, Path) else picture)


def _media(view: RoundView) -> dict[str, Any]:
    histograms = {
        key: wandb.Histogram(np_histogram=(np.array(one.counts), np.array(one.edges)))
        for key, one in view.histograms.items()
    }
    columns = [column for key, column in CLUSTER_COLUMNS.items() if key != "round"]
    rows = [[column.convert(row[column.key]) for column in columns] for row in view.clusters]
    table = wandb.Table(columns=[column.key for column in columns], data=rows)
    return {**histograms, "clusters": table, "codebook": _image(view.picture)}
