"""Pass everything that a logger is told on to several."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pytorch_lightning.loggers import Logger
from typing_extensions import override

from pwfn.monitoring.loggers.round_logger import RoundLogger
from pwfn.monitoring.loggers.round_media import RoundView
from pwfn.monitoring.loggers.spec import run_logger


class LoggerGroup(RoundLogger, Logger):
    """Be one logger to Lightning and to a run, and pass all calls on to `members`, in their order."""

    def __init__(self, members: Mapping[str, Logger | None]) -> None:
        super().__init__()
        self.members = {key: member for key, member in members.items() if member is not None}

    def _told(self) -> Iterator[RoundLogger]:
        return map(run_logger, self.members.values())

    @property
    @override
    def name(self) -> str | None:
        return next((member.name for member in self.members.values()), None)

    @property
    @override
    def version(self) -> int | str | None:
        return next((member.version for member in self.members.values()), None)

    @override
    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        for member in self.members.values():
            member.log_metrics(dict(metrics), step)

    @override
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        for member in self.members.values():
            member.log_hyperparams(params, *args, **kwargs)

    @override
    def save(self) -> None:
        for member in self.members.values():
            member.save()

    @property
    @override
    def takes_pictures(self) -> bool:
        return any(told.takes_pictures for told in self._told())

    @override
    def start_rounds(self, keys: Iterable[str]) -> None:
        every = list(keys)
        for told in self._told():
            told.start_rounds(every)

    @override
    def report_round(self, flat: Mapping[str, float | int], view: RoundView | None = None) -> None:
        for told in self._told():
            told.report_round(flat, view if told.takes_pictures else None)

    @override
    def report_again(self, rows: Sequence[Mapping[str, float | int]]) -> None:
        for told in self._told():
            told.report_again(rows)

    @override
    def mark_preempting(self) -> None:
        for told in self._told():
            told.mark_preempting()

    @override
    def report_summary(self, values: Mapping[str, float | int]) -> None:
        for told in self._told():
            told.report_summary(values)

    @override
    def report_pictures(self, pictures: Mapping[str, NDArray[np.uint8] | Path]) -> None:
        for told in self._told():
            told.report_pictures(pictures)

    @override
    def report_artifact(self, path: Path, metadata: Mapping[str, Any]) -> None:
        for told in self._told():
            told.report_artifact(path, metadata)
