"""A request to stop: the first signal is the one that counts."""

from __future__ import annotations

import os
import signal

import pytest

from pwfn.training.signals import NAMES, StopRequest


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
