"""File everything under optimizer steps, for loggers that have no other x-axis."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytorch_lightning.loggers.logger import Logger
from typing_extensions import override

from pwfn.monitoring.loggers.round_logger import RoundLogger
from pwfn.monitoring.loggers.round_media import RoundView


class UnderSteps(RoundLogger, Logger):
    """Mix into a Lightning logger: file what comes without a step under the last one given."""

    _last_step = 0

    @override
    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        super().log_metrics(dict(metrics), self._filed_under(step))  # type: ignore[safe-super]

    def _filed_under(self, step: int | None) -> int:
        self._last_step = self._last_step if step is None else step
        return self._last_step

    @override
    def report_round(self, flat: Mapping[str, float | int], view: RoundView | None = None) -> None:
        self.log_metrics(flat, step=int(flat["steps"]))
        self.save()

    @override
    def report_summary(self, values: Mapping[str, float | int]) -> None:
        self.log_metrics(values)
        self.save()
