"""Show and log a run while it goes on."""

from pwfn.monitoring.loggers import Csv, LoggerSpec, NoLogger, TensorBoard, Wandb

__all__ = ["Csv", "LoggerSpec", "NoLogger", "TensorBoard", "Wandb"]
