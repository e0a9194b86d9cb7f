"""Describe the logger of Weights & Biases."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from typing_extensions import override

from pwfn.config.secrets import without_secrets
from pwfn.errors import InvalidValueError
from pwfn.monitoring.loggers.spec import LoggerSpec
from pwfn.monitoring.wandb.variables import NAME, RUN_ID, VARIABLES, new_run_id, remarks, resolve, shortened
from pwfn.value_kinds import FilePath, FreeText

if TYPE_CHECKING:  # a sweep's parent process only reads this module, and must not pay for importing it
    from pytorch_lightning.loggers import Logger

DEFAULTS = {"project": "pwfn", "mode": "offline", "job_type": "train", "tags": (), "save_dir": "."}


@dataclass(frozen=True, kw_only=True)
class Wandb(LoggerSpec):
    """Log to Weights & Biases.

    What is None (or no tag) is taken from W&B's environment variable, where that is set, else from `DEFAULTS`.

    Args:
        project: at W&B; a name of at most 128 characters without slashes, backslashes, #, ?, % or :.
        mode: `offline` keeps everything for `wandb sync`, `disabled` sends and writes nothing.
        entity: a user or a team; None: the account's own.
        group: under which W&B shows the run, at most 128 characters; None: the sweep's name.
        job_type: as W&B has it, at most 64 characters.
        tags: of the run, each of 1 to 64 characters.
        notes: of the run.
        save_dir: the folder in which W&B makes its own; . is the one that the run was started in.
        artifact: whether the run's result is uploaded.
    """

    project: str | None = None
    mode: Literal["offline", "online", "disabled"] | None = None
    entity: str | None = None
    group: str | None = None
    job_type: str | None = None
    tags: tuple[str, ...] = ()
    notes: FreeText | None = None
    save_dir: FilePath | None = None
    artifact: bool = True

    def __post_init__(self) -> None:
        faults = []
        for check in (lambda: resolve(self._configured, DEFAULTS), new_run_id):
            try:
                check()
            except InvalidValueError as error:
                faults += error.faults
        if faults:
            raise InvalidValueError(faults)
        object.__setattr__(self, "tags", tuple(map(str, self.tags)))  # a config hands over its own kind of list

    @property
    def _configured(self) -> dict[str, Any]:
        return {key: getattr(self, key) for key in VARIABLES}

    @property
    @override
    def remarks(self) -> list[str]:
        return remarks(self._configured)

    @override
    def for_evaluation(self) -> Wandb:
        job_type = resolve(self._configured, DEFAULTS | {"job_type": "evaluate"})["job_type"]
        return replace(self, job_type=job_type)

    @override
    def name_of(self, chosen: str | None, otherwise: str) -> str:
        return chosen or os.environ.get(NAME, "").strip() or otherwise

    @override
    def new_run_id(self, sweep: str | None) -> str | None:
        return None if sweep else new_run_id()  # all runs of a sweep see the same variable

    @override
    def remarks_on(self, name: str, run_id: str) -> list[str]:
        values = {NAME: name, RUN_ID: run_id}
        return [
            f"{variable} = {os.environ[variable]!r} is not used: this run is {value!r}"
            for variable, value in values.items()
            if os.environ.get(variable, "") not in ("", value)
        ]

    @override
    def build(
        self, *, config: dict[str, Any], name: str, folder: Path, group: str | None, run_id: str | None = None
    ) -> Logger:
        from pwfn.monitoring.wandb.logger import RunLogger

        values = resolve(self._configured, DEFAULTS)
        return RunLogger(
            artifact=self.artifact,
            name=shortened(name),
            id=run_id,
            config=without_secrets(config),
            **values | {"group": self.group_of(group), "tags": list(values["tags"])},
        )

    @override
    def group_of(self, sweep: str | None) -> str | None:
        chosen = resolve(self._configured, DEFAULTS)["group"] or sweep
        return chosen and shortened(chosen)
