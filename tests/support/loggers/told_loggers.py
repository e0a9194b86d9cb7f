"""Tell a logger all that a run of two rounds would."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pwfn.monitoring.loggers.round_media import Histogram, RoundView
from pwfn.monitoring.loggers.spec import LoggerSpec, run_logger
from pwfn.records.rounds import COLUMNS
from tests.support.runs.round_records import cluster, record


def told(spec: LoggerSpec, folder: Path, name: str = "first") -> None:
    """Build the logger of `spec`, tell it everything, and close it."""
    logger = spec.build(config={"seed": 3}, name=name, folder=folder, group="g", run_id="0123abcd")
    assert logger is not None
    everyone = run_logger(logger)
    everyone.start_rounds(COLUMNS)
    logger.log_metrics({"train/loss": 0.5}, step=7)
    bars = Histogram([1, 2], [0.0, 1.0, 2.0])
    for number in range(2):
        view = RoundView({"histogram/mu": bars}, [cluster(0.25)], np.zeros((4, 5, 3), np.uint8))
        everyone.report_round(record(number).numbers(), view)
    everyone.report_summary({"top1_drop": 1.25})
    spec.close(logger, 0)
