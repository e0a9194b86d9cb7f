"""Show and log a run while it goes on."""

from pwfn.monitoring.loggers import Csv, LoggerSpec, NoLogger, TensorBoard
from pwfn.monitoring.wandb_spec import Wandb

__all__ = ["Csv", "LoggerSpec", "NoLogger", "TensorBoard", "Wandb"]
