"""Work behind a run's back: in order, and an error keeps nobody from what comes after it."""

from __future__ import annotations

from pwfn.monitoring.loggers.background import Background


def test_an_error_is_kept_and_the_rest_is_done() -> None:
    done: list[int] = []

    def fail() -> None:
        raise ValueError("the first")

    work = Background()
    for action in (lambda: done.append(1), fail, lambda: done.append(2)):
        work.do(action)
    assert work.finish(10)
    assert done == [1, 2]
    assert str(work.error) == "the first"
