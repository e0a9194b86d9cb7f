"""Warn of what a logger could not send."""

from __future__ import annotations

import warnings

from pwfn.errors import one_line

NOTHING_IS_LOST = "The run goes on, and its own folder has every round"


class Losses:
    """Warn once of each thing that happens to the log of a run.

    Args:
        run: what the run is called in warnings, `MLflow run 'first'`.
    """

    def __init__(self, run: str) -> None:
        self._run = run
        self._told: set[str] = set()

    def warn(self, what: str, error: Exception, rest: str = NOTHING_IS_LOST) -> None:
        """Warn, unless of the same thing already.

        Args:
            what: happened; the end of a sentence that begins with the run.
            error: that was the reason.
            rest: a sentence about what follows from it, without its period.
        """
        if what not in self._told:
            self._told.add(what)
            line = f"{self._run} {what} ({one_line(repr(error))}). {rest}."
            warnings.warn(line, RuntimeWarning, stacklevel=4)
