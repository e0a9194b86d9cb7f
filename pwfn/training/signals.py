"""Remember Ctrl-C and the signals of a scheduler until the running step is finished and saved."""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType, TracebackType
from typing import Any

from pytorch_lightning.utilities import rank_zero_only

from pwfn.errors import Stopped

# SIGTERM ends a job, SIGUSR1 is what SLURM can be told to send some time before that
NAMES = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM", signal.SIGUSR1: "SIGUSR1"}


class StopRequest:
    """Remember the first signal in `signal` while entered; a second Ctrl-C interrupts as usual."""

    def __init__(self) -> None:
        self.signal = 0  # none
        self._process = os.getpid()
        self._before: dict[int, Any] = {}  # the handlers that were replaced

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():  # Python allows handlers nowhere else
            found = {number: signal.getsignal(number) for number in NAMES}
            self._before = {n: handler for n, handler in found.items() if handler != signal.SIG_IGN}  # nohup's stay
        self.install()
        return self

    def install(self) -> None:
        """Take the signals, once more where somebody has replaced our handlers: Lightning does so at each fit and test.

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

    def _received(self, number: int, _frame: FrameType | None) -> None:
        if os.getpid() != self._process:
            return  # a process that was forked, to read images, and has not yet got handlers of its own
        if number == signal.SIGINT and self.signal == number:
            raise KeyboardInterrupt
        if not self.signal:
            name = NAMES[signal.Signals(number)]
            again = " (once more to stop at once)" if number == signal.SIGINT else ""
            if getattr(rank_zero_only, "rank", 0) == 0:
                print(f"pwfn: {name}: finishing the step and saving{again}", file=sys.stderr, flush=True)
            self.signal = number  # the first stays: a sweep's launcher passes SIGTERM on to jobs that had a Ctrl-C


def stopped_by(number: int) -> Stopped:
    """Return the exception that ends a saved run; its exit code is the shell's, 128 and the signal's number."""
    name = NAMES[signal.Signals(number)]
    return Stopped(name, 128 + number, saved=True, preempted=number != signal.SIGINT)
