"""Define exceptions of every wing, and `require`, which collects an object's bad values."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any

Check = Callable[[], tuple[str, Any, bool, str]]  # the name of a value, the value, whether it is right, what is allowed


@dataclass(frozen=True)
class Fault:
    """Describe one value that is not allowed.

    Attributes:
        name: of the value; may be dotted (`clustering.inc`).
        value: what it is.
        allowed: what follows "must be".
    """

    name: str
    value: Any
    allowed: str

    def __str__(self) -> str:
        return f"{self.name} = {self.value!r}: must be {self.allowed}"


class RunError(RuntimeError):
    """End a run for a reason that its user can do something about; the message is one line."""

    on_all_ranks = False  # True where every rank raises it at the same moment, so that rank 0 can say it for all


class Stopped(RuntimeError):
    """End a run that was told to stop, by Ctrl-C or a signal.

    Args:
        reason: name of the key or the signal.
        exit_code: what a shell expects of a program that was ended so.
        saved: whether the run was saved for this, so that nothing is lost.
        preempted: whether a scheduler ended it.
    """

    def __init__(self, reason: str, exit_code: int, *, saved: bool = False, preempted: bool = False) -> None:
        super().__init__(f"stopped by {reason}")
        self.exit_code, self.saved, self.preempted = exit_code, saved, preempted


class InvalidValueError(ValueError):
    """Name every broken rule of one object; a caller may prefix the names in `faults` with a path."""

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__("; ".join(map(str, faults)))
        self.faults = faults


def require(owner: Any, **rules: tuple[bool, str]) -> None:
    """Raise one `InvalidValueError` naming every attribute of `owner` whose rule does not hold.

    A rule is written as the condition that must be true, so that NaN, for which every comparison is false, is refused:
    `require(self, inc=(self.inc > 1, "a number above 1"))`.
    """
    faults = [Fault(name, getattr(owner, name), allowed) for name, (holds, allowed) in rules.items() if not holds]
    if faults:
        raise InvalidValueError(faults)


def one_line(text: object, limit: int | None = 200) -> str:
    """Turn any message, also one that quotes a hostile file, into one printable line.

    Args:
        text: the message; anything that is not a string is converted by `str`.
        limit: the most characters of it that are kept, with " ..." after them where some are left out; None keeps all.
    """
    message = str(text) if limit is None else str(text)[: 4 * limit]
    line = " ".join("".join(c if c.isprintable() else " " for c in message).split())
    return line if limit is None or len(line) <= limit else line[:limit] + " ..."


def broken(checks: Iterable[Check], owner: Any = None, absent: Collection[str] = ()) -> list[Fault]:
    """Judge checks one by one and return a fault for each that does not hold.

    Args:
        checks: functions that read the values only when they are called.
        owner: an object of which some fields could not be built.
        absent: the names of these fields; a check that reads one of them is skipped.

    Returns:
        The faults, in the order of the checks.
    """
    faults = []
    for check in checks:
        try:
            name, value, holds, allowed = check()
        except AttributeError as error:
            if error.obj is not owner or error.name not in absent:
                raise
        else:
            faults += [] if holds else [Fault(name, value, allowed)]
    return faults


def require_all(checks: Iterable[Check]) -> None:
    """Raise one `InvalidValueError` naming every check that does not hold."""
    if faults := broken(checks):
        raise InvalidValueError(faults)
