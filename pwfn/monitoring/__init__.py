"""Show and log a run while it goes on."""

from pwfn.monitoring.loggers import Csv, LoggerSpec, NoLogger, TensorBoard
from pwfn.monitoring.mlflow_spec import MLflow
from pwfn.monitoring.several_loggers import Several
from pwfn.monitoring.trackio_spec import Trackio
from pwfn.monitoring.wandb_spec import Wandb

__all__ = ["Csv", "LoggerSpec", "MLflow", "NoLogger", "Several", "TensorBoard", "Trackio", "Wandb"]
