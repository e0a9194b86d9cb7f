"""A request to stop: the first signal is the one that counts."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from pwfn.cli import train_task
from pwfn.training.signals import NAMES, StopRequest, stopped_by


def send_and_wait(number: int) -> None:
    os.kill(os.getpid(), number)
    signal.sigtimedwait([], 1)  # time for it to arrive


def test_sigterm_after_ctrl_c_leaves_it_a_ctrl_c(capsys: pytest.CaptureFixture[str]) -> None:
    with StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)  # what a sweep's launcher passes on
        assert stop.signal == signal.SIGINT
        assert capsys.readouterr().err.count("finishing the step and saving") == 1
        with pytest.raises(KeyboardInterrupt):
            send_and_wait(signal.SIGINT)


def test_handlers_that_another_has_replaced_are_installed_anew_and_the_first_ones_come_back() -> None:
    before = {number: signal.getsignal(number) for number in NAMES}
    with StopRequest() as stop:
        signal.signal(signal.SIGTERM, lambda *_: pytest.fail("that of Lightning"))
        stop.install()
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.signal == signal.SIGTERM
    assert {number: signal.getsignal(number) for number in NAMES} == before


@pytest.mark.parametrize("number", NAMES)
def test_every_signal_has_the_exit_code_of_a_shell(number: signal.Signals) -> None:
    stopped = stopped_by(number)
    assert stopped.exit_code == 128 + number
    assert stopped.saved
    assert stopped.preempted == (number != signal.SIGINT)


def test_a_saved_run_passes_the_signal_on_to_who_had_it_before(tmp_path: Path) -> None:
    """Submitit starts a job again in its handler, which must not run before the job is saved."""
    got: list[tuple[int, bool]] = []
    saved: list[bool] = []
    before = signal.signal(signal.SIGUSR2, lambda number, _frame: got.append((number, bool(saved))))

    def run() -> None:
        with StopRequest() as stop:
            os.kill(os.getpid(), signal.SIGUSR2)
            assert got == []
        saved.append(True)
        raise stopped_by(stop.signal)

    try:
        with pytest.raises(SystemExit) as ended, train_task.ended_in_one_line(tmp_path):
            run()
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert got == [(signal.SIGUSR2, True)]
    assert ended.value.code == 128 + signal.SIGUSR2


def test_a_process_of_a_loader_leaves_signals_alone(capfd: pytest.CaptureFixture[str]) -> None:
    with StopRequest() as stop:
        stop._process = 0  # as a forked one finds it
        for number in NAMES:
            os.kill(os.getpid(), number)
        assert stop.signal == 0
    assert capfd.readouterr().err == ""


def test_what_nohup_ignores_stays_ignored() -> None:
    before = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    try:
        with StopRequest() as stop:
            stop.install()
            os.kill(os.getpid(), signal.SIGUSR1)
            assert stop.signal == 0
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_a_process_that_was_forked_says_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    with StopRequest() as stop:
        child = os.fork()
        if child == 0:
            os.kill(os.getpid(), signal.SIGINT)
            os._exit(stop.signal)
        assert os.waitpid(child, 0)[1] == 0
    assert capfd.readouterr().err == ""
