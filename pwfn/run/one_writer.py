"""Make one process of a run the only writer of its folder."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from pwfn.records import failure
from pwfn.records.folder_lock import only_writer

if TYPE_CHECKING:
    from pwfn.run.settings import TrainSettings


def folder_of_run(settings: TrainSettings, folder: Path) -> AbstractContextManager[None]:
    """Make this process the only one that writes the run's folder; of several ranks it is the first one."""
    one = settings.trainer.devices * settings.trainer.num_nodes == 1
    return only_writer(folder) if one or failure.is_first_process() else nullcontext()
