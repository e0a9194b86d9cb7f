"""Stop a job whose launcher was killed as on SIGTERM: it saves and can be resumed."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread, current_thread, main_thread

from pwfn.config.terminal import leave_terminal

ENDING = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP)
PARENT = "PWFN_SWEEP_PARENT"  # the descriptor of a pipe of which only the launcher holds the other end


@contextmanager
def parent_pipe() -> Iterator[int]:
    """Open a pipe of which only the launcher holds the other end; yield the jobs' descriptor."""
    reading, writing = os.pipe()
    try:
        yield reading
    finally:
        os.close(reading)
        os.close(writing)


def stop_with_parent() -> bool:
    """Watch the launcher and return whether there is one; main process only, rank 0 stops the others."""
    descriptor = os.environ.pop(PARENT, None)  # to a process started from here the number would mean something else
    if descriptor is not None:
        Thread(target=_wait, args=(int(descriptor),), name="parent of this job", daemon=True).start()
    return descriptor is not None


def _wait(descriptor: int) -> None:
    try:
        ended = os.read(descriptor, 1) == b""  # nothing is ever written: this returns when the launcher has ended
    except OSError:
        return
    if ended:
        os.kill(os.getpid(), signal.SIGTERM)


@contextmanager
def signals_as_exit() -> Iterator[None]:
    """Raise SystemExit on a signal that would else end this process at once and leave its jobs running."""

    def leave(number: int, _frame: object) -> None:
        if number == signal.SIGHUP:
            leave_terminal()
        raise SystemExit(128 + number)

    if current_thread() is not main_thread():  # signals are the main thread's
        yield
        return
    found = {number: signal.getsignal(number) for number in ENDING}
    before = {number: handler for number, handler in found.items() if handler != signal.SIG_IGN}  # nohup's stay
    for number in before:
        signal.signal(number, leave)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
