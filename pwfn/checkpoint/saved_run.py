"""Tell what a run's folder holds: nothing, rounds, or a finished run."""

from __future__ import annotations

from pathlib import Path

from pwfn.checkpoint import files
from pwfn.errors import RunError
from pwfn.records.files import RECORDS, RESULT
from pwfn.records.rounds import RoundRecord, read_records


class NotAFinishedRun(ValueError):
    """Refuse a folder that holds no finished run; the message says what is missing."""


class FolderInUse(RunError):
    """Refuse a folder with rounds of another run, which those of a new one would replace."""


def refuse_used(folder: Path) -> None:
    """Raise FolderInUse if a run has left rounds or checkpoints in `folder`."""
    found = RECORDS if (folder / RECORDS).exists() else next((path.name for path in files.files(folder)), None)
    if found:
        raise FolderInUse(
            f"{folder} holds a run already ({found}): go on with it (resume={folder}), repeat the command that "
            "started it with resume=auto, choose another hydra.run.dir or move that run away"
        )


def is_finished(folder: Path) -> bool:
    """Tell whether the run in `folder` has its result, after which only the report is left to do."""
    return (folder / RESULT).is_file()


def finished_records(folder: Path) -> list[RoundRecord]:
    """Read the records of all rounds; NotAFinishedRun unless the last of them has fixed all weights."""
    if not folder.is_dir():
        why = "it is a file" if folder.is_file() else "there is no such folder"
        raise NotAFinishedRun(f"{folder} is not a finished run: {why}")
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
