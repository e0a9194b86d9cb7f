"""Runs that are reported to a logger without any training."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from rich.console import Console

from pwfn.monitoring.run_reporter import RunReporter
from pwfn.monitoring.wandb.spec import Wandb
from tests.support.runs.round_records import BASELINE, record


def build(spec: Wandb, tmp_path: Path, name: str = "first", config: dict[str, Any] | None = None) -> Any:
    return spec.build(config=config or {}, name=name, folder=tmp_path / name, group="sweep-7")


def whole_run(spec: Wandb, tmp_path: Path, name: str, rounds: int = 2, **options: Any) -> None:
    logger = build(spec, tmp_path, name, **options)
    reporter = RunReporter(tmp_path / name, logger, Console(file=io.StringIO()))
    reporter.start(BASELINE)
    records = [record(n) for n in range(rounds)]
    for one in records:
        logger.log_metrics({"train/loss": 0.5}, step=one.steps)
        reporter.add(one, [])
    reporter.finish(records, BASELINE, {})
    spec.close(logger, 0)
