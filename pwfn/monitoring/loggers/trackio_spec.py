"""Describe the logger of trackio."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from pwfn.errors import require
from pwfn.monitoring.loggers.spec import LoggerSpec, require_extra
from pwfn.value_kinds import FilePath

if TYPE_CHECKING:  # a sweep's parent process only reads this module, and must not pay for importing it
    from pytorch_lightning.loggers import Logger

FOLDER = "TRACKIO_DIR"
MOST_BYTES = 128  # of a run's name, to which its id is added


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
        require_extra("trackio", "Trackio")
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

        # It makes folders of run names: no slash, and no more bytes than a file system takes. It knows runs by their
        # names alone, and two runs may be called the same.
        short = name.replace("/", "_").encode()[:MOST_BYTES].decode(errors="ignore")
        unique = f"{short} {run_id}" if run_id else short
        return TrackioRunLogger(project=self.project, name=unique, group=group, config=config)
