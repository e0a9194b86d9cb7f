"""Log to several loggers at once."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from pwfn.errors import Fault, InvalidValueError
from pwfn.monitoring.loggers.spec import LoggerSpec

if TYPE_CHECKING:  # a sweep's parent process only reads this module, and must not pay for importing it
    from pytorch_lightning.loggers import Logger

_LIST = re.compile(r"logger=\[([a-z]+(?: *, *[a-z]+)*)\]")
_IN_SEVERAL = ("wandb", "csv")  # of conf/logger/several.yaml


@dataclass(frozen=True, kw_only=True)
class Several(LoggerSpec):
    """Log to each of the loggers that are given, at least one; None: not to that one."""

    wandb: LoggerSpec | None = None
    csv: LoggerSpec | None = None
    tensorboard: LoggerSpec | None = None
    trackio: LoggerSpec | None = None
    mlflow: LoggerSpec | None = None

    def __post_init__(self) -> None:
        if not self._given:
            raise InvalidValueError([Fault("csv", None, "a logger where all the others are null")])

    @property
    def _given(self) -> dict[str, LoggerSpec]:
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: spec for name, spec in found.items() if spec is not None}

    def _first(self, ask: Callable[[LoggerSpec], str | None]) -> str | None:
        return next((answer for spec in self._given.values() if (answer := ask(spec))), None)

    @override
    def build(
        self, *, config: dict[str, Any], name: str, folder: Path, group: str | None, run_id: str | None = None
    ) -> Logger:
        from pwfn.monitoring.loggers.logger_group import LoggerGroup

        run: dict[str, Any] = {"config": config, "name": name, "folder": folder, "group": group, "run_id": run_id}
        return LoggerGroup({key: spec.build(**run) for key, spec in self._given.items()})

    @override
    def group_of(self, sweep: str | None) -> str | None:
        return self._first(lambda spec: spec.group_of(None)) or sweep

    @override
    def name_of(self, chosen: str | None, otherwise: str) -> str:
        return chosen or self._first(lambda spec: spec.name_of(None, "")) or otherwise

    @override
    def new_run_id(self, sweep: str | None) -> str | None:
        return self._first(lambda spec: spec.new_run_id(sweep))

    @override
    def for_evaluation(self) -> Several:
        return replace(self, **{key: spec.for_evaluation() for key, spec in self._given.items()})

    @property
    @override
    def remarks(self) -> list[str]:
        return [remark for spec in self._given.values() for remark in spec.remarks]

    @override
    def remarks_on(self, name: str, run_id: str) -> list[str]:
        return [remark for spec in self._given.values() for remark in spec.remarks_on(name, run_id)]

    @override
    def close(self, logger: Logger | None, exit_code: int) -> None:
        if logger is not None:
            for key, member in logger.members.items():  # type: ignore[attr-defined]
                self._given[key].close(member, exit_code)


def spelled_out(arguments: list[str]) -> list[str]:
    """Rewrite `logger=[wandb,tensorboard]` as Hydra reads it, which takes one option of a group."""
    lines = []
    for argument in arguments:
        if found := _LIST.fullmatch(argument):
            names = found.group(1).replace(" ", "").split(",")
            lines.append("logger=several")
            lines += [f"logger.{name}=null" for name in _IN_SEVERAL if name not in names]
            lines += [f"+logger@logger.{name}={name}" for name in names if name not in _IN_SEVERAL]
        else:
            lines.append(argument)
    return lines
