"""Show in a terminal the present phase and the whole run as bars, below them the results so far."""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TextColumn
from rich.table import Column
from rich.text import Text

from pwfn.monitoring.eta import clock
from pwfn.records.rounds import RoundRecord, Scores

_BARS = "▁▂▃▄▅▆▇█"
_PER_SECOND = 4  # how often it is drawn: a thread of the training process does it
_SPEED_SECONDS = 600  # over which speed is measured: at least two updates of the slowest training


def sparkline(values: Sequence[float], low: float, high: float) -> str:
    """Return a character for each value; what is no number becomes a blank.

    Args:
        values: in their order.
        low: gets the lowest bar.
        high: gets a full bar.
    """
    steps = [(value - low) / (high - low) if high > low else 0.5 for value in values]
    return "".join(
        _BARS[min(len(_BARS) - 1, max(0, int(step * len(_BARS))))] if math.isfinite(step) else " " for step in steps
    )


class _Figures(ProgressColumn):
    """Show what is known of a bar in words.

    rich measures the time: for the phase also what is left of it, because its batches are alike. Rounds are not, so
    that what is left of the run is estimated by `pwfn.monitoring.eta`.
    """

    def render(self, task: Task) -> Text:
        figures = list(task.fields["figures"])
        if task.fields["whole"]:
            figures.insert(0, f"{clock(task.elapsed or 0)} so far")
        elif task.total is not None and task.time_remaining is not None:
            figures.append(f"{clock(task.time_remaining)} left")
        return Text(", ".join(figures), no_wrap=True)


class LiveView:
    """Own the bottom of the terminal while entered, and leave nothing there."""

    def __init__(self, console: Console) -> None:
        self._ascii = console.options.ascii_only
        self._bars = Progress(
            SpinnerColumn("line" if self._ascii else "dots"),
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            _Figures(table_column=Column(no_wrap=True)),
            console=console,
            expand=True,
            speed_estimate_period=_SPEED_SECONDS,
        )
        self._phase = self._bars.add_task("starting", total=None, figures=(), whole=False)
        self._run = self._bars.add_task("run", total=None, figures=(), whole=True)
        self._results: list[Text] = []
        # transient: bars of a finished run say nothing, the lines above them stay
        self._live = Live(self, console=console, transient=True, refresh_per_second=_PER_SECOND)
        self._open = ExitStack()

    def __enter__(self) -> LiveView:
        before = {sys.stdout, sys.stderr}
        self._open.enter_context(self._live)
        self._open.enter_context(_logs_above(before))
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield self._bars
        yield from self._results

    def start_phase(self, description: str, total: int | None = None, done: int = 0) -> None:
        """Show what goes on now, and measure its speed from here on.

        Args:
            description: its name.
            total: batches of the whole phase; None where it has none, or they are not known.
            done: batches that were done before a resume.
        """
        self._bars.tasks[0].total = total  # reset() cannot go back to a bar of unknown length
        self._bars.reset(self._phase, completed=done, description=description, figures=(), whole=False)

    def phase(self, description: str, done: int, figures: Sequence[str]) -> None:
        """Show how far a phase is.

        Args:
            description: its name.
            done: batches of the whole phase that are done.
            figures: what else is known of it.
        """
        self._bars.update(self._phase, completed=done, description=description, figures=figures)

    def start_run(self) -> None:
        """Begin the clock of the whole run."""
        self._bars.reset(self._run, figures=(), whole=True)

    def run(self, done: int, rounds: int, seconds_left: float | None) -> None:
        """Show how far the run is.

        Args:
            done: rounds that are done.
            rounds: of the run.
            seconds_left: an estimate; None where there is none.
        """
        figures = [f"about {clock(seconds_left)} left"] if seconds_left is not None else []
        description = f"rounds {done}/{rounds}"
        self._bars.update(self._run, total=rounds, completed=done, description=description, figures=figures)

    def results(self, baseline: Scores, records: Sequence[RoundRecord]) -> None:
        """Show the last round in words, and all as two small curves; that of accuracy begins before them."""
        lines = [f"pretrained: top1 {baseline.top1:.2f} %"]
        if records:
            last = records[-1]
            lines = [
                f"round {last.round + 1}: top1 {last.clustered.top1:.2f} % "
                f"({last.clustered.top1 - baseline.top1:+.2f} points), entropy {last.entropy_bits:.2f} bits, "
                f"{last.codebook_size:,} values, {100 * last.fraction:.1f} % fixed"
            ]
        if records and not self._ascii:
            lines.append(_curves([baseline.top1, *(one.clustered.top1 for one in records)], records))
        self._results = [Text(f"  {line}", no_wrap=True, overflow="ellipsis") for line in lines]


def _curves(top1: list[float], records: Sequence[RoundRecord]) -> str:
    bits = [one.entropy_bits for one in records]
    high = max(top1)
    low = min(*top1, high - 1)  # one point at least, or the noise of the test split would look like a result
    return (
        f"top1 {sparkline(top1, low, high)} {min(top1):.2f} to {high:.2f} %   "
        f"entropy {sparkline(bits, 0, max(bits))} {bits[0]:.2f} to {bits[-1]:.2f}"
    )


@contextmanager
def _logs_above(before: set[object]) -> Iterator[None]:
    """Send to rich's stderr what log handlers would write to the streams of `before`, into the view."""
    named = [one for one in logging.root.manager.loggerDict.values() if isinstance(one, logging.Logger)]
    moved: list[tuple[logging.StreamHandler[Any], Any]] = []
    for handler in {handler for logger in (logging.root, *named) for handler in logger.handlers}:
        if isinstance(handler, logging.StreamHandler) and handler.stream in before:
            moved.append((handler, handler.setStream(sys.stderr)))
    try:
        yield
    finally:
        for handler, stream in moved:
            handler.setStream(stream)
