"""Let one process at a time write a folder, with a lock that dies with its process."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pwfn.errors import RunError
from pwfn.records.files import NotWritten

LOCK = ".lock"
_TAKEN = (errno.EACCES, errno.EAGAIN)
_held: dict[Path, tuple[int, int, list[Path]]] = {}  # the descriptor, how many blocks use it, folders made for it


class FolderBusy(RunError):
    """Refuse a folder that another process writes; nothing in it was touched."""


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Be the only process that writes `folder`; blocks of one process may nest.

    A missing folder is made, and removed again where nothing was written.

    A record lock of the operating system (`fcntl`): no child inherits it, and it is gone when its process is, however
    that ends. A file system without locks is passed over.

    Raises:
        FolderBusy: another process holds it.
        NotWritten: the folder cannot be written to.
    """
    path = folder.absolute() / LOCK
    if path in _held:
        descriptor, users, made = _held[path]
    else:
        made = [one for one in (folder.absolute(), *folder.absolute().parents) if not one.exists()]
        descriptor, users = _taken(path), 0
    _held[path] = (descriptor, users + 1, made)
    try:
        yield
    finally:
        descriptor, users, made = _held.pop(path)
        if users > 1:
            _held[path] = (descriptor, users - 1, made)
        else:
            _release(path, descriptor, made)


def _taken(path: Path) -> int:
    import fcntl  # not on Windows

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                owner = os.pread(descriptor, 200, 0).decode(errors="replace").split()
                if error.errno in _TAKEN:
                    os.close(descriptor)
                    raise _busy(path.parent, owner) from None
            if _is(path, descriptor):
                break
            os.close(descriptor)  # the process that had it has removed it meanwhile
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{socket.gethostname()} {os.getpid()}".encode(), 0)
        return descriptor
    except OSError as error:
        raise NotWritten(path, error.strerror or str(error), error.errno) from error


def _is(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _busy(folder: Path, owner: list[str]) -> FolderBusy:
    who = f"process {owner[1]} on {owner[0]}" if len(owner) == 2 else "another process"
    return FolderBusy(
        f"{folder} is written by {who} at present: wait until that has ended, or choose another hydra.run.dir"
    )


def _release(path: Path, descriptor: int, made: list[Path]) -> None:
    """Remove the lock, and the folders made for it, from the innermost on, as far as they are empty."""
    try:
        path.unlink(missing_ok=True)
        for folder in made:
            folder.rmdir()
    except OSError:  # not empty; or on a disk that has gone bad meanwhile, where the file alone locks nothing
        pass
    finally:
        os.close(descriptor)
