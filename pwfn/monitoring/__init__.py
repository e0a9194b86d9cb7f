"""Show and log a run while it goes on."""

from pwfn.monitoring.loggers.mlflow_spec import MLflow
from pwfn.monitoring.loggers.several_loggers import Several
from pwfn.monitoring.loggers.spec import Csv, LoggerSpec, NoLogger, TensorBoard
from pwfn.monitoring.loggers.trackio_spec import Trackio
from pwfn.monitoring.wandb.spec import Wandb

__all__ = ["Csv", "LoggerSpec", "MLflow", "NoLogger", "Several", "TensorBoard", "Trackio", "Wandb"]
