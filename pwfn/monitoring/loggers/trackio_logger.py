"""Log to trackio, whose dashboard needs neither an account nor a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import trackio
from numpy.typing import NDArray
from pytorch_lightning.loggers.logger import DummyExperiment, Logger
from pytorch_lightning.utilities import rank_zero_only
from typing_extensions import override

from pwfn.config.secrets import without_secrets
from pwfn.monitoring.loggers.round_logger import RoundLogger
from pwfn.monitoring.loggers.round_media import RoundView
from pwfn.records.rounds import CLUSTER_COLUMNS


class TrackioRunLogger(RoundLogger, Logger):
    """Write into trackio's database on this machine, with the keys that W&B gets.

    Args:
        project: at trackio.
        name: of the run; the same one goes on.
        group: under which runs are shown together, if any.
        config: the resolved configuration.
    """

    def __init__(self, *, project: str, name: str, group: str | None, config: Mapping[str, Any]) -> None:
        super().__init__()
        self._project, self._name, self._group, self._config = project, name, group, without_secrets(config)
        self._run: Any = None

    @property
    @override
    def name(self) -> str:
        return self._project

    @property
    @override
    def version(self) -> str:
        return self._name

    @property
    def experiment(self) -> Any:
        """Return trackio's run, which starts when it is first wanted; on other ranks one that does nothing."""
        if self._run is None:
            self._run = self._started() if getattr(rank_zero_only, "rank", 0) == 0 else DummyExperiment()
        return self._run

    def _started(self) -> Any:
        return trackio.init(
            project=self._project,
            name=self._name,
            group=self._group,
            config=self._config,
            resume="allow",
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )

    @property
    @override
    def takes_pictures(self) -> bool:
        return True

    @override
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self.experiment.log({**metrics, **({} if step is None else {"trainer/global_step": step})})

    @override
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Keep the configuration that the run was started with."""

    @override
    def report_round(self, flat: Mapping[str, float | int], view: RoundView | None = None) -> None:
        self.experiment.log({**flat, **(_media(view) if view else {})})

    @override
    def report_again(self, rows: Sequence[Mapping[str, float | int]]) -> None:
        """Trackio keeps what it has of a run that goes on."""

    @override
    def report_summary(self, values: Mapping[str, float | int]) -> None:
        self.experiment.log(dict(values))

    @override
    def report_pictures(self, pictures: Mapping[str, NDArray[np.uint8] | Path]) -> None:
        self.experiment.log({key: _image(picture) for key, picture in pictures.items()})

    @override
    def finalize(self, status: str) -> None:
        """Lightning calls this after every fit; `close` ends the run."""

    def close(self) -> None:
        """End the run, if there is one, and write what is still on its way."""
        if self._run is not None:
            self._run.finish()


def _image(picture: NDArray[np.uint8] | Path) -> Any:
    return trackio.Image(str(picture) if isinstance(picture, Path) else picture)


def _media(view: RoundView) -> dict[str, Any]:
    columns = [column for key, column in CLUSTER_COLUMNS.items() if key != "round"]
    rows = [[column.convert(row[column.key]) for column in columns] for row in view.clusters]
    histograms = {
        key: trackio.Histogram(np_histogram=(np.array(one.counts), np.array(one.edges)))
        for key, one in view.histograms.items()
    }
    table = trackio.Table(columns=[column.key for column in columns], data=rows)
    return {**histograms, "clusters": table, "codebook": _image(view.picture)}
