"""Say in one line what follows from a dry run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pwfn.config import program
from pwfn.config.wording.quoting import shell_word
from pwfn.preview.expected_size import ExpectedSize


@dataclass(frozen=True)
class Alarm:
    """Hold why the figures are not a run's (`text`), and the verdict then; None: the size to expect."""

    text: str
    verdict: str | None = None


def verdict(size: ExpectedSize, alarms: Sequence[Alarm]) -> str:
    """Name the size to expect and what to do next.

    Args:
        size: after the last round.
        alarms: why the figures are not those of a run.
    """
    if instead := [alarm.verdict for alarm in alarms if alarm.verdict is not None]:
        return f"Verdict: {instead[0]}"
    return (
        f"Verdict: {size.fp32_mb:.2f} MB would become about {size.entropy_mb:.2f} MB. How much accuracy that costs, a "
        "run tells: the same command without dry_run=true; with schedule=one_shot it is over soonest, without training."
    )


def with_weights() -> str:
    """Return the command line of this program with a file of weights added."""
    given = program.arguments() if program.name() == "train" else ["dry_run=true"]
    given = [word for word in given if not word.startswith("hydra.")]  # the folder and number of a sweep's job
    return " ".join([*program.typed("train"), *map(shell_word, given), "model.checkpoint=<file>"])
