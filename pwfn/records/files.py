"""Name the files of runs and sweeps that several modules know; write files whole or not at all."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pwfn.errors import RunError, one_line

# of a run
CONFIG = "config.yaml"
RECORDS = "rounds.json"
RESULT = "result.json"
SUMMARY_FILE = "summary.json"
LAYERS = "layers.csv"
HISTOGRAM = "weights.json"
PROVENANCE = "provenance.json"
ARTIFACT = "model.pwfn"
CHECKPOINTS = "checkpoints"  # a folder
VALUES = "codebook.json"  # the values of a codebook that was fitted to the weights
PRETRAINED = "pretrained.safetensors"  # before any round: an ordinary state dict
TRAINED = "trained.safetensors"  # after the last training, before the last clustering
NETWORK = "network.safetensors"  # the newest: after the last clustering so far, or after the finishing
NETWORKS = (PRETRAINED, TRAINED, NETWORK)  # what keep=result removes
BUDGET = "budget.json"  # every rate that was tried for a budget, and what it gave
SPLIT = "split.csv"  # which image is in which split, where the program has chosen
CLASS_ORDER = "class_order.txt"  # a class a line, where a file had said their order
CHECKED = ".images_checked.json"  # beside the run's folder, so that the next run need not look at the images again

# of a sweep
PLAN = "sweep.json"
JOBS = "jobs.json"  # and jobs.csv


class NotWritten(RunError, OSError):
    """Say that a file cannot be written, for one on a full disk; what was there before is unchanged.

    Args:
        path: the file.
        reason: why, as it is shown to the user.
        error_number: `errno` of the system's own error, where there is one.
    """

    def __init__(self, path: Path, reason: str, error_number: int | None = None) -> None:
        super().__init__(f"{path} cannot be written ({reason})")
        self.errno, self.strerror = error_number, reason

    def __str__(self) -> str:
        return str(self.args[0])


@contextmanager
def replacing(path: Path, *, name: Callable[[], str] | None = None) -> Iterator[Path]:
    """Give a path to write to, which replaces `path` when the block ends well and is removed otherwise.

    A reader, or a crash at any moment, finds the old content or the new, never a mixture. The file gets the permissions
    that the umask grants, also where a library creates it with fewer.

    Args:
        path: the file to replace; its folder exists. The unfinished file lies beside it, because a rename is atomic
            only within one file system.
        name: called when the block has ended, where the file's name depends on its content: the name it gets instead
            of that of `path`.

    Raises:
        NotWritten: where the block, the flush to disk or the rename ends in an OSError; `path` is then as it was.
    """
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        unfinished.touch()
        mode = unfinished.stat().st_mode
        yield unfinished
        with unfinished.open("rb") as file:
            os.fsync(file.fileno())
        unfinished.chmod(mode)
        unfinished.replace(path if name is None else path.with_name(name()))
    except OSError as error:
        raise NotWritten(path, error.strerror or one_line(error), error.errno) from error
    finally:
        _discard(unfinished)


def _discard(unfinished: Path) -> None:
    try:
        unfinished.unlink(missing_ok=True)
    except OSError:  # on a lost disk nothing can be tidied up, and what the block has raised says why
        return


# what CIFS, FUSE and the like answer where a folder cannot be flushed; the file itself is on disk by then
_CANNOT_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP)


def sync_folder(folder: Path) -> None:
    """Flush `folder`, after which a rename in it survives a power cut; skip file systems that cannot.

    Raises:
        OSError: any other error, such as that of a broken disk.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:
            raise
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Replace the content of `path` by `text` (UTF-8, line ends as they are), whole or not at all."""
    with replacing(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8", newline="")


def size_of(folder: Path) -> int:
    """Return the size in bytes of all files in and below a folder, without what links lead to."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def megabytes(size: int) -> str:
    """Write a number of bytes in megabytes."""
    return f"{size / 1e6:,.1f} MB"
