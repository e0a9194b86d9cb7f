"""Break a run of this process off at a chosen call."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest


class Killed(BaseException):
    """Ends a run as abruptly as an exception can: nothing in the program expects it."""


@contextmanager
def killed(owner: Any, name: str, count: int, by: Callable[..., None] | None = None) -> Iterator[None]:
    """Inside, the `count`th call of a function does its work, and then the run is gone, or what `by` does to it."""
    plain, calls = getattr(owner, name), iter(range(1, 1000))

    def call(*args: Any, **options: Any) -> Any:
        done = plain(*args, **options)
        if next(calls) == count:
            (by or kill)(*args)
        return done

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, call)
        yield


def kill(*_: Any) -> None:
    raise Killed
