"""What of a run has to survive it: the resolved config and the network, before compression and in the end.

Nothing is pickled: the network is a safetensors file, the config is YAML.
"""

from __future__ import annotations

from pathlib import Path

from pwfn.checkpoint import files
from pwfn.errors import RunError
from pwfn.records.files import RECORDS, RESULT
from pwfn.records.rounds import RoundRecord, read_records


class NotAFinishedRun(ValueError):
    """The folder holds no finished run; the message says what is missing."""


class FolderInUse(RunError):
    """The folder holds rounds of another run, with which those of a new one would be mixed up."""


def refuse_used(folder: Path) -> None:
    """Raise FolderInUse if a run has left rounds or checkpoints in `folder`."""
    found = RECORDS if (folder / RECORDS).exists() else next((path.name for path in files.files(folder)), None)
    if found:
        raise FolderInUse(
            f"{folder} holds a run already ({found}): go on with it (resume={folder}), choose another hydra.run.dir or "
            "move that run away"
        )


def is_finished(folder: Path) -> bool:
    """Whether the run in `folder` has all its figures: its result is written when nothing but the report is left to do."""
    return (folder / RESULT).is_file()


def finished_records(folder: Path) -> list[RoundRecord]:
    """The records of all rounds; raises NotAFinishedRun unless all weights were fixed and the network was saved."""
    if not folder.is_dir():
        raise NotAFinishedRun(f"{folder} is not a finished run: there is no such folder")
    if not (folder / RECORDS).is_file():
        raise NotAFinishedRun(f"{folder} is not a finished run: it has no {RECORDS}")
    try:
        records = read_records(folder)
    except (OSError, ValueError) as error:
        raise NotAFinishedRun(f"{folder} is not a finished run: {error}") from error
    if not records or records[-1].fraction != 1.0:
        done = f"{len(records)} rounds done, {100 * records[-1].fraction:g} % fixed" if records else "no round is done"
        raise NotAFinishedRun(f"{folder} is not a finished run: {done}")
    return records
