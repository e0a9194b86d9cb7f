"""The round schedule and the greedy clustering's thresholds: numbers and refusals."""

from __future__ import annotations

import pytest

from pwfn.clustering.rules import Greedy
from pwfn.errors import InvalidValueError
from pwfn.run.rounds.schedule import Fit, Schedule

NAN, INF = float("nan"), float("inf")


def test_the_papers_schedule() -> None:
    schedule = Schedule()
    assert schedule.fractions == (0.2, 0.4, 0.6, 0.7, 0.8, 0.9, 0.95, 0.975, 0.99, 1.0)
    assert schedule.rounds == 10
    assert [schedule.fits(t) for t in range(10)] == [(Fit(1, 0.05, "joint"),)] + [(Fit(3, 1.0, "joint"),)] * 9
    assert schedule.training == "joint"
    assert schedule.trains


def test_the_fits_of_alternate_training() -> None:
    schedule = Schedule((0.5, 1.0), first_epochs=4, first_share=0.25, rest_epochs=2, training="alternate")
    assert schedule.fits(0) == (Fit(4, 0.25, "mu"), Fit(4, 0.25, "sigma"))
    assert schedule.fits(1) == (Fit(2, 1.0, "mu"), Fit(2, 1.0, "sigma"))
    assert [sum(fit.passes for fit in schedule.fits(t)) for t in range(2)] == [2.0, 4.0]


def test_a_schedule_without_epochs_trains_nothing() -> None:
    assert not Schedule((0.5, 1.0), first_epochs=0, rest_epochs=0).trains
    assert not Schedule((1.0,), first_epochs=0, rest_epochs=3).trains  # there is no second round
    assert Schedule((0.5, 1.0), first_epochs=0, rest_epochs=1).trains


@pytest.mark.parametrize(
    "fractions", [(), (0.5,), (0.5, 0.5, 1.0), (0.6, 0.4, 1.0), (0.0, 1.0), (-0.1, 1.0), (NAN, 1.0), (1.0, 1.1)]
)
def test_fractions_must_rise_to_one(fractions: tuple[float, ...]) -> None:
    words = "must be shares above 0 that increase from round to round and end with 1"
    with pytest.raises(InvalidValueError, match=words) as caught:
        Schedule(fractions)
    assert caught.value.faults[0].value == fractions


def test_all_faults_of_a_schedule_at_once() -> None:
    with pytest.raises(InvalidValueError) as caught:
        Schedule((0.5,), first_epochs=-1, first_share=0, rest_epochs=-2, training="both")  # type: ignore[arg-type]
    assert [str(fault) for fault in caught.value.faults] == [
        "fractions = (0.5,): must be shares above 0 that increase from round to round and end with 1",
        "first_epochs = -1: must be an integer from 0",
        "first_share = 0: must be above 0 and at most 1",
        "rest_epochs = -2: must be an integer from 0",
        "training = 'both': must be joint or alternate",
    ]


@pytest.mark.parametrize("share", [1.0001, NAN, -0.5])
def test_first_share(share: float) -> None:
    with pytest.raises(InvalidValueError, match="first_share"):
        Schedule(first_share=share)


def test_the_threshold_goes_linearly_from_start_to_end() -> None:
    greedy = Greedy(start=1.0, end=4.0)
    assert [greedy.threshold(t, 4) for t in range(4)] == [1.0, 2.0, 3.0, 4.0]
    assert [Greedy(2.0, 0.5).threshold(t, 3) for t in range(3)] == [2.0, 1.25, 0.5]
    assert [Greedy().threshold(t, 10) for t in range(10)] == [1.0] * 10
    assert [Greedy(3.0).threshold(t, 4) for t in range(4)] == [3.0] * 4  # without an end it stays where it starts
    assert greedy.threshold(0, 1) == 1.0


def test_all_faults_of_the_greedy_settings_at_once() -> None:
    with pytest.raises(InvalidValueError) as caught:
        Greedy(start=0, end=-1, inc=1)
    assert [str(fault) for fault in caught.value.faults] == [
        "start = 0: must be a number above 0",
        "end = -1: must be a number above 0, or null",
        "inc = 1: must be a number above 1",
    ]


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
@pytest.mark.parametrize("name", ["start", "end", "inc"])
def test_greedy_numbers_must_be_finite(name: str, bad: float) -> None:
    with pytest.raises(InvalidValueError, match=rf"^{name} = {bad}: must be a number above [01]"):
        Greedy(**{name: bad})
