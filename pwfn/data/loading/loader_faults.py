"""Recognize what ends the processes of a loader, and say what helps."""

from __future__ import annotations

import errno
import re
import sys
import traceback
from collections.abc import Iterator

_KILLED = re.compile(r"DataLoader worker \(pid(?:\(s\))? [^)]*\) (?:exited unexpectedly|is killed by signal: ([\w ]+))")
# torch and CPython have no types for these
_NO_HANDLES = ("Too many open files", "received 0 items of ancdata")
_NO_SHARED_MEMORY = ("out of shared memory", "unable to allocate shared memory", "</torch_", "shared memory object")


def loader_fault(error: BaseException) -> str | None:
    """Say in one line why a loader's processes have failed and what to do; None for any other error.

    Also one that was raised while such an error was handled: Lightning's end of a fit does not expect a loader that has
    not begun.
    """
    return next((fault for cause in _causes(error) if (fault := _fault(cause))), None)


def release(error: BaseException) -> None:
    """Let go of a loader that an error has left half made: its file handles are wanted to write down why.

    Torch cannot end such a loader without an error, which Python would print.
    """
    shown, sys.unraisablehook = sys.unraisablehook, lambda _unraisable: None
    try:
        for cause in _causes(error):
            traceback.clear_frames(cause.__traceback__)
    finally:
        sys.unraisablehook = shown


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def _fault(error: BaseException) -> str | None:
    if not isinstance(error, OSError | RuntimeError):
        return None
    text = str(error)
    if getattr(error, "errno", None) in (errno.EMFILE, errno.ENFILE) or any(words in text for words in _NO_HANDLES):
        return (
            f"there are too few file handles for the loader's processes{_limit()}: raise the limit (ulimit -n), or set "
            "a smaller data.num_workers"
        )
    if any(words in text for words in _NO_SHARED_MEMORY):
        return (
            "the loader's processes have too little shared memory (/dev/shm): give the container more (docker run "
            "--shm-size=8g), or set a smaller data.num_workers; 0 needs none"
        )
    if killed := _KILLED.search(text):
        by = f" (signal: {killed[1].strip()})" if killed[1] else ""
        return (
            f"a process of the loader was killed{by}, mostly for want of memory: set a smaller data.num_workers, or "
            "give the job more memory (in a container also --shm-size)"
        )
    return None


def _limit() -> str:
    try:
        import resource  # not on Windows
    except ImportError:
        return ""
    return f" (at most {resource.getrlimit(resource.RLIMIT_NOFILE)[0]} here)"
