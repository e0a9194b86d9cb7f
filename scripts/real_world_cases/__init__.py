"""Make what users bring, a module for each kind of thing; each has a list `CASES`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Done:
    """Hold what one call of the program left.

    Attributes:
        code: its exit code.
        text: its standard output and standard error, one after the other.
        run: the folder of the run.
        inputs: the folder in which the case made its inputs.
    """

    code: int
    text: str
    run: Path
    inputs: Path

    def line(self, words: str) -> str:
        """Return the line that has these words; refuse a traceback, and an output without such a line."""
        assert "Traceback" not in self.text, f"a traceback: {self.text.strip().splitlines()[-1]}"
        found = [line.strip() for line in self.text.splitlines() if words in line]
        assert found, (
            f"no line with {words!r}, the last one is: {(self.text.strip().splitlines() or ['(nothing)'])[-1]}"
        )
        return found[0]

    def refused(self, words: str) -> str:
        """Return the line with which the program refused an input."""
        line = self.line(words)
        assert self.code in (1, 2), f"exit code {self.code}"
        return line


@dataclass(frozen=True)
class Case:
    """Describe one thing that users bring.

    Attributes:
        name: what it is, in a few words.
        arguments: makes the input in an empty folder and returns the arguments of train.py.
        outcome: says in a few words what came out; raises AssertionError if that is not right.
        environment: variables that train.py finds set.
    """

    name: str
    arguments: Callable[[Path], Sequence[str]]
    outcome: Callable[[Done], str]
    environment: Mapping[str, str] = field(default_factory=dict)
