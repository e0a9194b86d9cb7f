"""Say at the end of a sweep how large its runs are, and how to remove what stopped ones have left."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from pwfn.records.files import ARTIFACT, CHECKPOINTS, NETWORKS, megabytes, size_of
from pwfn.sweep.table import Row


def size_lines(rows: Sequence[Row]) -> list[str]:
    """Return a line on the finished runs and one on the others' checkpoints, where there is something."""
    lines = []
    runs = [row.folder for row in rows if row.code == 0 and (row.folder / ARTIFACT).is_file()]
    if runs:
        kept = any((folder / name).is_file() for folder in runs for name in NETWORKS)
        how = "keep=result leaves their networks out" if kept else "without their networks, which keep=all keeps"
        count = "1 run takes" if len(runs) == 1 else f"{len(runs)} runs take"
        lines.append(f"{count} {megabytes(sum(map(size_of, runs)))}, {how}")
    left = [
        row.folder / CHECKPOINTS for row in rows if row.code != 0 and any((row.folder / CHECKPOINTS).glob("*.ckpt"))
    ]
    if left:
        sizes = ", ".join(f"{folder} ({megabytes(size_of(folder))})" for folder in left)
        command = " ".join(["rm", "-r", *(shlex.quote(str(folder)) for folder in left)])
        lines += [f"Checkpoints of runs that have not ended: {sizes}", f"To give these runs up: {command}"]
    return lines
