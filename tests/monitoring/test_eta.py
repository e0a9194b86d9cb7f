"""What is left of a run is estimated from the rounds and epochs behind it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pwfn.monitoring.eta import TimeLeft


@given(
    work=st.lists(st.floats(0.05, 5), min_size=2, max_size=6),
    epoch=st.floats(0.1, 1e4),
    rest=st.floats(0, 1e4),
    data=st.data(),
)
def test_a_run_whose_epochs_and_pauses_all_take_the_same_is_foretold_exactly(
    work: list[float], epoch: float, rest: float, data: st.DataObject
) -> None:
    left, now = TimeLeft(work), 1e6  # whatever came before, pretraining for one, does not count
    total = [epoch * one + rest for one in work]
    done = data.draw(st.integers(1, len(work)))
    for one in work[:done]:
        left.begin(now)
        left.trained(one, epoch * one)
        now += epoch * one + rest
        left.end_round(now)
    assert left.rounds_done == done
    assert left.seconds() == pytest.approx(sum(total[done:]), rel=1e-6, abs=1e-4)
    if done < len(work):  # within the next round, a third of its training told and another third under way
        part = work[done] / 3
        left.trained(part, epoch * part)
        expected = sum(total[done:]) - 2 * epoch * part
        assert left.seconds(part, epoch * part) == pytest.approx(expected, rel=1e-6, abs=1e-4)


def test_a_few_batches_are_no_measure() -> None:
    left = TimeLeft([1.0, 3.0])
    left.begin(0.0)
    assert left.seconds() is None
    assert left.seconds(0.4, 4.0) is None
    assert left.seconds(0.5, 5.0) == 35.0


def test_what_was_trained_before_a_resume_is_neither_measured_nor_ahead() -> None:
    left = TimeLeft([1.0, 3.0, 3.0], rounds_done=1)
    left.begin(100.0)
    left.skipped(2.0)
    left.trained(1.0, 10.0)
    assert left.seconds() == 30.0
    left.end_round(115.0)
    assert left.seconds() == 35.0
    assert left.rounds_done == 2


def test_rounds_without_training_are_measured_by_the_rest() -> None:
    left = TimeLeft([0.0, 0.0, 0.0])
    left.begin(0.0)
    assert left.seconds() is None
    left.end_round(4.0)
    left.end_round(10.0)
    assert left.seconds() == 5.0
    left.end_round(11.0)
    assert left.seconds() == 0.0
