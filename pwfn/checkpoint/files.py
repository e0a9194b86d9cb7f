"""Write checkpoint files whole or not at all, verify them before they are read, and keep the last few.

A file is called `<number>-<first 16 hex digits of its SHA-256>.ckpt`: one rename makes content and checksum appear
together. It is read with torch's weights_only unpickler, which makes tensors, numbers, strings and containers and
nothing else.
"""

from __future__ import annotations

import hashlib
import pickle
import re
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import torch

from pwfn.errors import RunError, one_line
from pwfn.records.files import CHECKPOINTS, replacing, sync_folder

_NAME = re.compile(r"(\d{6,})-([0-9a-f]{16})\.ckpt")
_DIGITS = 16  # of the digest, in a file's name
_ANY = "new.ckpt"  # what a file is called before its digest is known
_CHUNK = 1 << 20


class CheckpointError(RunError):
    """End a run whose checkpoint cannot be written, or none of whose checkpoints can be read."""


class _Hashing:
    """Hash what is written to `file` on the way, so that it need not be read again."""

    def __init__(self, file: IO[bytes], digest: hashlib._Hash) -> None:
        self.file, self.digest = file, digest

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        return self.file.write(data)

    def flush(self) -> None:
        self.file.flush()


def files(run: Path) -> list[Path]:
    """List the checkpoints of the run in folder `run`, oldest first."""
    found = [path for path in (run / CHECKPOINTS).glob("*.ckpt") if _NAME.fullmatch(path.name)]
    return sorted(found, key=_number)


def write(run: Path, content: dict[str, Any], keep: int) -> Path:
    """Save `content` as the newest checkpoint, then remove all but the `keep` newest.

    An old checkpoint that cannot be removed is a RuntimeWarning: the new one counts.

    Args:
        run: folder of the run; `checkpoints` in it is made where it is missing.
        content: tensors, numbers, strings, None, and dicts and lists of them.
        keep: from 1.

    Returns:
        The path of the new checkpoint.

    Raises:
        CheckpointError: where it cannot be written, for one on a full disk; the older ones are as they were.
    """
    folder = run / CHECKPOINTS
    digest = hashlib.sha256()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        before = files(run)
        number = _number(before[-1]) + 1 if before else 1
        target = replacing(folder / _ANY, name=lambda: _name(number, digest.hexdigest()))
        with target as unfinished, unfinished.open("wb") as file:
            torch.save(content, _Hashing(file, digest))  # type: ignore[arg-type]
        sync_folder(folder)
    except (OSError, RuntimeError) as error:  # torch turns an OSError of its writer into a RuntimeError
        raise CheckpointError(
            f"no checkpoint can be written to {folder} ({_reason(error)}); those in there are as they were"
        ) from error
    for old in files(run)[:-keep]:
        _remove_old(old)
    return folder / _name(number, digest.hexdigest())


def _name(number: int, digest: str) -> str:
    return f"{number:06d}-{digest[:_DIGITS]}.ckpt"


def _remove_old(path: Path) -> None:
    try:
        path.unlink()
    except OSError as error:
        warnings.warn(f"{path} cannot be removed ({_reason(error)}): it stays", RuntimeWarning, stacklevel=3)


def newest(run: Path, warn: Callable[[str], None] = lambda _line: None) -> dict[str, Any] | None:
    """Read the newest intact checkpoint, None if there is no checkpoint at all.

    Args:
        run: folder of the run.
        warn: called with a line for each damaged checkpoint that is passed over.

    Raises:
        CheckpointError: where all are damaged.
    """
    found = files(run)
    for path in reversed(found):
        fault = _fault(path)
        if fault is None:
            return _read(path)
        older = [other for other in found if _number(other) < _number(path)]
        instead = f"going back to {older[-1].name}" if older else "and there is none before it"
        warn(f"{path} is damaged ({fault}): {instead}")
    if found:
        raise CheckpointError(f"every checkpoint in {run / CHECKPOINTS} is damaged: this run cannot be resumed")
    return None


def remove(run: Path) -> None:
    """Remove the checkpoints of a finished run, if any are left: its network is in a file of its own."""
    if (run / CHECKPOINTS).exists():
        shutil.rmtree(run / CHECKPOINTS)


def _number(path: Path) -> int:
    return int(path.name.partition("-")[0])


def _fault(path: Path) -> str | None:
    match = _NAME.fullmatch(path.name)
    assert match is not None
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    except OSError as error:
        return _reason(error)
    return None if digest.hexdigest()[:_DIGITS] == match[2] else "its content does not have the checksum of its name"


def _read(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, pickle.UnpicklingError) as error:
        raise CheckpointError(f"{path} is no checkpoint of this program: {_reason(error)}") from error
    return content


def _reason(error: BaseException) -> str:
    """Return the operating system's message, where it is the cause."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__cause__ or cause.__context__
    return one_line(error)
