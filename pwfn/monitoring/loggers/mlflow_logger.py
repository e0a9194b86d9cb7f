"""Log to MLflow by Lightning's logger, in a thread: a failing server or disk costs a run nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray
from pytorch_lightning.loggers import MLFlowLogger
from typing_extensions import override

from pwfn.config.secrets import without_secrets
from pwfn.monitoring.loggers.background import Background
from pwfn.monitoring.loggers.losses import Losses
from pwfn.monitoring.loggers.media import as_pixels
from pwfn.monitoring.loggers.round_logger import OneRunLogger, is_rank_0
from pwfn.monitoring.loggers.round_media import RoundView
from pwfn.monitoring.loggers.under_steps import UnderSteps

FINISH_SECONDS = 300.0  # for what is still on its way when the run ends
RUN_ID, GROUP = "pwfn/run_id", "pwfn/group"  # tags


@dataclass(frozen=True)
class Place:
    """Say where MLflow keeps runs.

    Args:
        uri: of a server or database; None: an SQLite database in `folder`.
        folder: of that database and of the files of runs.
        experiment: under which runs are filed.
    """

    uri: str | None
    folder: Path
    experiment: str

    @contextmanager
    def opened(self) -> Iterator[tuple[str, str | None]]:
        """Yield the address and where files go, and keep others from creating the same database meanwhile."""
        if self.uri is not None:
            yield self.uri, None
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        # jobs of a sweep start at once, and MLflow does not expect another to create its tables
        with FileLock(self.folder / ".mlflow.lock"):
            # timeout: several processes write to one file, each for some milliseconds
            yield f"sqlite:///{self.folder / 'mlflow.db'}?timeout=60", (self.folder / "artifacts").as_uri()


class MLflowRunLogger(OneRunLogger, UnderSteps):
    """Send scalars, codebook tables and pictures to MLflow, over steps, from a thread of its own.

    Args:
        place: where runs are kept.
        name: of the run, for people.
        group: name of the sweep, a tag.
        run_id: the same whenever the run is resumed: MLflow's run with this tag goes on.
        config: the resolved configuration; its values become parameters, `optimizer.lr`.
        artifact: whether the run's result is copied to MLflow's files.
    """

    def __init__(
        self,
        place: Place,
        *,
        name: str,
        group: str | None,
        run_id: str | None,
        config: Mapping[str, Any],
        artifact: bool,
    ) -> None:
        super().__init__()
        self._place, self._name, self._artifact = place, name, artifact
        self._tags = {key: value for key, value in ((RUN_ID, run_id), (GROUP, group)) if value is not None}
        self._params = dict(_flat(without_secrets(config)))
        self._background = Background()
        self._mlflow: MLFlowLogger | None = None
        self._losses = Losses(f"MLflow run {name!r}")
        self._begun = False

    @property
    @override
    def name(self) -> str:
        return self._place.experiment

    @property
    @override
    def version(self) -> str:
        return self._tags.get(RUN_ID, self._name)

    def _tell(self, action: Callable[[MLFlowLogger], object]) -> None:
        """Do something with MLflow's run, which starts with the first call; on rank 0 alone."""
        if is_rank_0():
            self._begun = True
            self._warn_of(self._background.error)
            self._background.do(lambda: action(self._started()))

    def _warn_of(self, error: Exception | None) -> None:
        if error is not None:
            self._losses.warn("is not complete", error)

    def _started(self) -> MLFlowLogger:
        if self._mlflow is None:
            from mlflow.tracking import MlflowClient

            logging.getLogger("mlflow").setLevel(logging.WARNING)  # it would write into the live view
            with self._place.opened() as (uri, files):
                found = self._found(MlflowClient(uri), files)
                made = MLFlowLogger(self.name, self._name, uri, dict(self._tags), run_id=found)
                if found is None:
                    made.log_hyperparams(self._params)
                else:
                    made.experiment.update_run(found, status="RUNNING")
            self._mlflow = made
        return self._mlflow

    def _found(self, client: Any, files: str | None) -> str | None:
        """Return MLflow's id of the run where it goes on, and see to it that there is the experiment."""
        experiment = client.get_experiment_by_name(self.name)
        if experiment is None:
            client.create_experiment(self.name, artifact_location=files)
        elif RUN_ID in self._tags:
            mine = f"tags.`{RUN_ID}` = '{self._tags[RUN_ID]}'"
            for run in client.search_runs([experiment.experiment_id], mine, max_results=1):
                return str(run.info.run_id)
        return None

    @property
    @override
    def takes_pictures(self) -> bool:
        return True

    @override
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        at = self._filed_under(step)
        numbers = {key: float(value) for key, value in metrics.items()}
        self._tell(lambda mlflow: mlflow.log_metrics(numbers, at))

    @override
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Keep the configuration that the run was started with."""

    @override
    def report_round(self, flat: Mapping[str, float | int], view: RoundView | None = None) -> None:
        super().report_round(flat)
        if view is not None:
            at, picture, table = self._last_step, view.picture, view.table
            file = f"clusters/round_{int(flat['round']):03}.json"
            self._tell(lambda mlflow: _client(mlflow).log_table(mlflow.run_id, table, file))
            self._tell(lambda mlflow: _client(mlflow).log_image(mlflow.run_id, picture, key="codebook", step=at))

    @override
    def report_pictures(self, pictures: Mapping[str, NDArray[np.uint8] | Path]) -> None:
        for key, picture in pictures.items():
            self._tell(partial(_log_picture, as_pixels(picture), f"{key}.png"))

    @override
    def report_artifact(self, path: Path, metadata: Mapping[str, Any]) -> None:
        about = dict(metadata)
        if self._artifact:
            self._tell(lambda mlflow: _client(mlflow).log_dict(mlflow.run_id, about, "model/metadata.json"))
            self._tell(lambda mlflow: _client(mlflow).log_artifact(mlflow.run_id, str(path), "model"))

    @override
    def close(self, exit_code: int) -> None:
        if self._begun:
            self._tell(lambda mlflow: mlflow.finalize("success" if exit_code == 0 else "failed"))
            done = self._background.finish(FINISH_SECONDS)
            self._warn_of(self._background.error or (None if done else TimeoutError("no answer")))


def _client(mlflow: MLFlowLogger) -> Any:
    return mlflow.experiment


def _log_picture(pixels: NDArray[np.uint8], file: str, mlflow: MLFlowLogger) -> None:
    _client(mlflow).log_image(mlflow.run_id, pixels, file)


def _flat(config: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values of a nested config under the keys of the command line."""
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value
