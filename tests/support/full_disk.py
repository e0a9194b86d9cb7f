"""A disk that is full in the middle of a write."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Let the system refuse to make any file larger than `size` bytes: writes raise OSError, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def full_for(name: str, number: int = errno.ENOSPC) -> Callable[[Path, Any], Path]:
    """Make `Path.replace` fail for the file of that name as on a full disk."""
    replace = Path.replace

    def fails(self: Path, target: Any) -> Path:
        if Path(target).name == name:
            raise OSError(number, os.strerror(number), str(target))
        return replace(self, target)

    return fails
