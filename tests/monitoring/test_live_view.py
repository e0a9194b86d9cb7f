"""The live view shows bars and results, lets prints stand above it, and leaves the terminal as it was."""

from __future__ import annotations

import io
import logging
import math
import sys
from typing import Any

import pytest
from rich.console import Console

from pwfn.monitoring.live_view import LiveView, sparkline
from pwfn.records.rounds import Scores
from tests.support.runs.round_records import BASELINE, record
from tests.support.terminal import screen


def terminal(width: int = 100, **options: Any) -> Console:
    return Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None, _environ={}, **options)


def test_sparkline_puts_each_value_where_it_belongs() -> None:
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7, 8], 0, 8) == "▁▂▃▄▅▆▇██"
    assert sparkline([-5, 100], 0, 8) == "▁█"  # nothing falls off
    assert sparkline([1.0, math.nan, math.inf], 0, 2) == "▅  "
    assert sparkline([3.0, 3.0], 3, 3) == "▅▅"
    assert sparkline([], 0, 1) == ""


def test_results_tell_the_last_round_and_draw_all() -> None:
    view = LiveView(terminal())
    view.results(BASELINE, [])
    assert screen(view)[2:] == ["  pretrained: top1 98.89 %"]
    rounds = [record(n, entropy_bits=8.0 - 4 * n, clustered=Scores(98.89 - n, 100, 0)) for n in range(2)]
    view.results(BASELINE, rounds)
    last, curves = screen(view)[2:]
    assert last == "  round 2: top1 97.89 % (-1.00 points), entropy 4.00 bits, 94 values, 40.0 % fixed"
    assert curves == "  top1 ██▁ 97.89 to 98.89 %   entropy █▅ 8.00 to 4.00"


def test_small_changes_of_accuracy_are_drawn_small() -> None:
    view = LiveView(terminal())
    view.results(Scores(99.0, 100, 0), [record(0, clustered=Scores(98.8, 100, 0))])
    assert "top1 █▇ 98.80 to 99.00 %" in screen(view)[3]


@pytest.mark.parametrize("width", [20, 40, 80])
def test_a_narrow_terminal_gets_four_lines_all_the_same(width: int) -> None:
    now = [100.0]
    view = LiveView(terminal(width, get_time=lambda: now[0]))
    view.start_run()
    view.start_phase("round 10/10", 34)
    for done in (1, 31):
        now[0] += 150
        view.phase("round 10/10 epoch 3/3", done, [f"{done}/34 batches", "loss 0.123"])
    view.run(9, 10, 200)
    view.results(BASELINE, [record(n) for n in range(10)])
    lines = screen(view, width)
    assert max(map(len, lines)) <= width
    if width == 80:
        assert len(lines) == 4
        assert "31/34 batches, loss 0.123, 0:00:15 left" in lines[0]
        assert "rounds 9/10" in lines[1]
        assert "0:05:00 so far, about 0:03:20 left" in lines[1]


def test_a_phase_of_unknown_length_may_follow_one_that_is_done() -> None:
    view = LiveView(terminal())
    view.start_phase("round 1/2", 4)
    view.phase("round 1/2", 4, [])
    assert screen(view)[0].startswith("  round")  # at its end nothing turns
    view.start_phase("clustering")
    assert not screen(view)[0].startswith("  ")
    assert "clustering" in screen(view)[0]


def test_a_terminal_without_unicode_gets_no_curves() -> None:
    class Latin(io.StringIO):
        encoding = "latin-1"

    view = LiveView(Console(file=Latin(), width=80, force_terminal=True))
    view.results(BASELINE, [record(0)])
    assert len(screen(view)) == 3
    "\n".join(screen(view)[2:]).encode("latin-1")


def test_what_is_printed_or_logged_meanwhile_stands_above(capsys: pytest.CaptureFixture[str]) -> None:
    """Also by handlers that were made before, whose streams are not rich's."""
    handler = logging.StreamHandler(sys.stderr)
    logger = logging.getLogger("pwfn.tests.live")
    logger.addHandler(handler)
    logger.propagate = False
    before = handler.stream
    console = Console(file=None, width=60, force_terminal=True, color_system=None, _environ={})
    try:
        with LiveView(console) as view:
            view.start_phase("training", 2)
            view.phase("training", 1, [])
            logger.warning("a library warns")
            print("a print")
            print("an error", file=sys.stderr)
        assert handler.stream is before
        assert sys.stderr is before
        logger.warning("afterwards")
    finally:
        logger.removeHandler(handler)
    shown = capsys.readouterr()
    for said in ("a library warns", "a print", "an error"):
        (line,) = [line for line in shown.out.splitlines() if said in line]
        assert line.endswith(said)
        assert "training" not in line
    assert shown.err == "afterwards\n"


def test_it_leaves_the_screen_as_it_was_after_an_exception() -> None:
    console = terminal()

    def fail() -> None:
        with LiveView(console) as view:
            view.results(BASELINE, [record(0)])
            raise ValueError("boom")

    with pytest.raises(ValueError, match="boom"):
        fail()
    assert console._live_stack == []
    written = console.file.getvalue()  # type: ignore[attr-defined]
    assert written.count("\x1b[?25l") == written.count("\x1b[?25h") == 1  # the cursor is shown again
    assert written.rstrip().endswith("\x1b[2K")  # and the last thing is that the lines of the view are erased
