"""Describe the logger of trackio."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from pwfn.errors import Fault, InvalidValueError, require
from pwfn.monitoring.loggers.spec import LoggerSpec
from pwfn.value_kinds import FilePath

if TYPE_CHECKING:  # a sweep's parent process only reads this module, and must not pay for importing it
    from pytorch_lightning.loggers import Logger

FOLDER = "TRACKIO_DIR"


@dataclass(frozen=True, kw_only=True)
class Trackio(LoggerSpec):
    """Log to trackio's database on this machine; needs the extra `trackio`.

    Args:
        project: in trackio's dashboard; its name is that of a file.
        save_dir: the folder of the database, where the environment variable TRACKIO_DIR does not name one.
    """

    project: str = "pwfn"
    save_dir: FilePath = "trackio"

    def __post_init__(self) -> None:
        if find_spec("trackio") is None:
            there = "csv, none or wandb: trackio is not installed (pip install 'pwfn[trackio]')"
            raise InvalidValueError([Fault("_target_", "pwfn.monitoring.Trackio", there)])
        require(
            self,
            project=(bool(self.project) and "/" not in self.project, "a name without /"),
            save_dir=(bool(self.save_dir), "a folder"),
        )

    @override
    def build(
        self, *, config: dict[str, Any], name: str, folder: Path, group: str | None, run_id: str | None = None
    ) -> Logger:
        # trackio reads it when it is imported; its dashboard is started with the same
        os.environ.setdefault(FOLDER, str(Path(self.save_dir).absolute()))
        from pwfn.monitoring.loggers.trackio_logger import TrackioRunLogger

        # it knows runs by their names alone, and two runs may be called the same
        unique = f"{name} {run_id}" if run_id else name
        return TrackioRunLogger(project=self.project, name=unique, group=group, config=config)

    @override
    def close(self, logger: Logger | None, exit_code: int) -> None:
        if logger is not None:
            logger.close()  # type: ignore[attr-defined]
