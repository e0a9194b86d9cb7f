"""Remember Ctrl-C and the signals of a scheduler until the run is saved."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType, TracebackType
from typing import Any

from pwfn.config.terminal import leave_terminal
from pwfn.errors import Stopped

NAMES = {
    signal.SIGINT: "Ctrl-C",
    signal.SIGTERM: "SIGTERM",  # ends a job
    signal.SIGUSR1: "SIGUSR1",  # what SLURM can be told to send some time before that
    signal.SIGUSR2: "SIGUSR2",  # what submitit has it send
    signal.SIGHUP: "SIGHUP",  # the terminal is gone, as that of an SSH connection that drops
}


class StopNow(BaseException):
    """End a test or clustering whose run is asked to stop; what they changed is put back and saved.

    On all ranks at the same moment. No Exception, so that no library takes it for one of its own.

    Args:
        number: the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(NAMES[signal.Signals(number)])
        self.number = number


class StopRequest:
    """Remember the first signal in `signal` while entered; a second Ctrl-C interrupts as usual."""

    def __init__(self) -> None:
        self.signal = 0  # none
        self._before: dict[int, Any] = {}  # the handlers that were replaced
        self._process = os.getpid()
        self._at_once = False

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():  # Python allows handlers nowhere else
            found = {number: signal.getsignal(number) for number in NAMES}
            self._before = {n: handler for n, handler in found.items() if handler != signal.SIG_IGN}  # nohup's stay
        self.install()
        return self

    def install(self) -> None:
        """Take the signals, again where our handlers were replaced: Lightning does so at each fit and test.

        With several ranks Lightning's wait for each other while a signal is handled, and end the run without saving it.
        """
        for number in self._before:
            signal.signal(number, self._received)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Raise StopNow as soon as a signal comes, or has come; for long work without collectives."""
        if self.signal:
            raise StopNow(self.signal)
        self._at_once = True
        try:
            yield
        finally:
            self._at_once = False

    def _received(self, number: int, _frame: FrameType | None) -> None:
        if os.getpid() != self._process:
            return  # a loader's process, to which a terminal or a scheduler has sent the signal as well
        if number == signal.SIGHUP:
            leave_terminal()
        if number == signal.SIGINT and self.signal == number:
            raise KeyboardInterrupt
        if self.signal:
            return  # the first stays: a sweep's launcher passes SIGTERM on to jobs that had a Ctrl-C
        self.signal = number
        name = NAMES[signal.Signals(number)]
        again = " (once more to stop at once)" if number == signal.SIGINT else ""
        from pytorch_lightning.utilities import rank_zero_only  # when it is there already: a dry run needs no Lightning

        if getattr(rank_zero_only, "rank", 0) == 0:
            _say(f"pwfn: {name}: finishing the step and saving{again}")
        if self._at_once:
            self._at_once = False
            raise StopNow(number)


def _say(line: str) -> None:
    with suppress(OSError):  # its reader may be gone, which must not cost the run its checkpoint
        print(line, file=sys.stderr, flush=True)


def stopped_by(number: int) -> Stopped:
    """Return the exception that ends a saved run; exit code 128 and the signal's number, as a shell's."""
    return _stopped(number, saved=True)


def unsaved_by(number: int) -> Stopped:
    """Return the exception that ends a run which could not be saved; it goes on from its last checkpoint."""
    return _stopped(number, saved=False)


def _stopped(number: int, *, saved: bool) -> Stopped:
    name = NAMES[signal.Signals(number)]
    return Stopped(name, 128 + number, saved=saved, preempted=number != signal.SIGINT)


def pass_on(stopped: Stopped) -> None:
    """Raise the signal of a stopped run for the handler before ours, as submitit's, which requeues."""
    number = stopped.exit_code - 128
    if number in NAMES and number != signal.SIGINT and callable(signal.getsignal(number)):
        signal.raise_signal(number)
