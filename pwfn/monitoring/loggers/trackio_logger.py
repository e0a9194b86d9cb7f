"""Log to trackio, whose dashboard needs neither an account nor a network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import trackio
from numpy.typing import NDArray
from pytorch_lightning.loggers.logger import DummyExperiment, Logger
from typing_extensions import override

from pwfn.config.secrets import without_secrets
from pwfn.monitoring.loggers.media import image, media, table
from pwfn.monitoring.loggers.round_logger import OneRunLogger, is_rank_0
from pwfn.monitoring.loggers.round_media import RoundView


class TrackioRunLogger(OneRunLogger, Logger):
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
            self._run = self._started() if is_rank_0() else DummyExperiment()
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
        shown = {**media(trackio, view), "clusters": table(trackio, view)} if view else {}
        self.experiment.log({**flat, **shown})

    @override
    def report_summary(self, values: Mapping[str, float | int]) -> None:
        self.experiment.log(dict(values))

    @override
    def report_pictures(self, pictures: Mapping[str, NDArray[np.uint8] | Path]) -> None:
        self.experiment.log({key: image(trackio, picture) for key, picture in pictures.items()})

    @override
    def close(self, exit_code: int) -> None:
        if self._run is not None:
            self._run.finish()
