"""Describe the logger of MLflow."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from pwfn.errors import require
from pwfn.monitoring.loggers.spec import LoggerSpec, require_extra

if TYPE_CHECKING:  # a sweep's parent process only reads this module, and must not pay for importing it
    from pytorch_lightning.loggers import Logger

TRACKING, EXPERIMENT, TELEMETRY = "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_DISABLE_TELEMETRY"


@dataclass(frozen=True, kw_only=True)
class MLflow(LoggerSpec):
    """Log to MLflow: a server, or an SQLite database on this machine; needs the extra `mlflow`.

    Args:
        tracking_uri: of the server or database; None: MLFLOW_TRACKING_URI, else `mlflow.db` in `save_dir`.
        experiment: under which runs are filed; None: MLFLOW_EXPERIMENT_NAME, else "pwfn".
        save_dir: the folder of the database and of its files, where no URI is given.
        artifact: whether model.pwfn is copied to MLflow's files.
    """

    tracking_uri: str | None = None
    experiment: str | None = None
    save_dir: str = "mlruns"
    artifact: bool = True

    def __post_init__(self) -> None:
        require_extra("mlflow", "MLflow")
        require(
            self,
            tracking_uri=(
                self.tracking_uri is None or "://" in self.tracking_uri,
                "null, or a URI such as http://127.0.0.1:5000 or sqlite:////data/mlflow.db",
            ),
            experiment=(self.experiment is None or bool(self.experiment.strip()), "null or a name"),
            save_dir=(bool(self.save_dir), "a folder"),
        )

    @override
    def build(
        self, *, config: dict[str, Any], name: str, folder: Path, group: str | None, run_id: str | None = None
    ) -> Logger:
        os.environ.setdefault(TELEMETRY, "true")  # nothing but the log leaves this machine, unless the user says so
        from pwfn.monitoring.loggers.mlflow_logger import MLflowRunLogger, Place

        place = Place(
            uri=self.tracking_uri or os.environ.get(TRACKING) or None,
            folder=Path(self.save_dir).absolute(),
            experiment=self.experiment or os.environ.get(EXPERIMENT) or "pwfn",
        )
        return MLflowRunLogger(place, name=name, group=group, run_id=run_id, config=config, artifact=self.artifact)
