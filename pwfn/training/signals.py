"""Ctrl-C and the signals of a scheduler: remembered until the step in which they came is finished and saved."""

from __future__ import annotations

import signal
import sys
import threading
from types import FrameType, TracebackType
from typing import Any

from pwfn.errors import Stopped

# SIGTERM ends a job, SIGUSR1 is what SLURM can be told to send some time before that
NAMES = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM", signal.SIGUSR1: "SIGUSR1"}


class StopRequest:
    """While entered, the first signal only sets `signal`; a second Ctrl-C interrupts as usual."""

    def __init__(self) -> None:
        self.signal = 0  # none
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():  # Python allows handlers nowhere else
            heeded = [number for number in NAMES if signal.getsignal(number) != signal.SIG_IGN]  # nohup's choice stays
            self._before = {number: signal.signal(number, self._received) for number in heeded}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _received(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.signal == number:
            raise KeyboardInterrupt
        if not self.signal:
            name = NAMES[signal.Signals(number)]
            again = " (once more to stop at once)" if number == signal.SIGINT else ""
            print(f"pwfn: {name}: finishing the step and saving{again}", file=sys.stderr, flush=True)
            self.signal = number  # the first stays: a sweep's launcher passes SIGTERM on to jobs that had a Ctrl-C


def stopped_by(number: int) -> Stopped:
    """The exit code is the one a shell gives a program that the signal has ended: 128 and its number."""
    name = NAMES[signal.Signals(number)]
    return Stopped(name, 128 + number, saved=True, preempted=number != signal.SIGINT)
