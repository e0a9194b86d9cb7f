"""What is shown and logged while a run goes on."""

from pwfn.monitoring.loggers import Csv, LoggerSpec, NoLogger, TensorBoard, Wandb

__all__ = ["Csv", "LoggerSpec", "NoLogger", "TensorBoard", "Wandb"]
