"""A request to stop: the first signal is the one that counts."""

from __future__ import annotations

import os
import signal

import pytest

from pwfn.training.signals import StopRequest


def test_sigterm_after_ctrl_c_leaves_it_a_ctrl_c(capsys: pytest.CaptureFixture[str]) -> None:
    with StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)  # what a sweep's launcher passes on
        assert stop.signal == signal.SIGINT
        assert capsys.readouterr().err.count("finishing the step and saving") == 1
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
            signal.sigtimedwait([], 1)  # time for it to arrive
