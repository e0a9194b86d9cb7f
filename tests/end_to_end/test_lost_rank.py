"""What a rank says that has lost another one."""

from __future__ import annotations

from pathlib import Path

import pytest

from pwfn.cli import train_task
from pwfn.records import failure
from pwfn.training import distributed


def lost(message: str, folder: Path) -> None:
    with pytest.raises((RuntimeError, SystemExit)), train_task.ended_in_one_line(folder):  # noqa: PT012
        # a rank that has gone before leaves its reason while this one waits
        failure.write(folder, "ValueError: the reason")
        raise RuntimeError(message)


@pytest.mark.parametrize(
    ("message", "is_lost"),
    [
        ("[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:5", True),
        ("[.../gloo/transport/tcp/pair.cc:589] Read error [127.0.0.1]:5: Connection reset by peer", True),
        ("[.../gloo/transport/tcp/unbound_buffer.cc:81] Timed out waiting 1800000ms for recv operation", False),
        ("[enforce fail at .../gloo/transport/tcp/pair.cc:446] op.preamble.length <= op.nbytes. 8 vs 4", False),
        ("NCCL error: unhandled system error", False),
        ("/data/gloomy/x.jpg cannot be read", False),
    ],
)
def test_only_a_closed_connection_is_the_fault_of_another_rank(
    message: str, is_lost: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert distributed.has_lost_another(RuntimeError(message)) is is_lost
    lost(message, tmp_path)
    said = capsys.readouterr().err == "pwfn: another process of this run has ended: ValueError: the reason\n"
    reason = "ValueError: the reason" if is_lost else f"RuntimeError: {message}"
    assert (said, failure.read(tmp_path)) == (is_lost, reason)


def test_a_rank_that_was_killed_leaves_no_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failure, "awaited", lambda folder: None)
    with pytest.raises(RuntimeError, match="Connection closed"), train_task.ended_in_one_line(tmp_path):
        raise RuntimeError("gloo: Connection closed by peer")
    assert failure.read(tmp_path) == "RuntimeError: gloo: Connection closed by peer"
