"""Say in one line what follows from a dry run."""

from __future__ import annotations

from collections.abc import Sequence

from pwfn.preview.expected_size import ExpectedSize


def verdict(size: ExpectedSize, alarms: Sequence[str]) -> str:
    """Name the size to expect and what to do next.

    Args:
        size: after the last round.
        alarms: why the figures are not those of a run; each begins with a few words and a colon.
    """
    if alarms:
        return f"Verdict: none ({alarms[0].partition(':')[0].lower()}): the line above says what to do."
    return (
        f"Verdict: {size.fp32_mb:.2f} MB would become about {size.entropy_mb:.2f} MB. How much accuracy that costs, a "
        "run tells: the same command without dry_run=true; with schedule=one_shot it is over soonest, without training."
    )
