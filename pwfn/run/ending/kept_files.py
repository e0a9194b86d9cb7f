"""Leave in a finished run's folder what was asked for, and say how large it is."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pwfn.records.files import NETWORKS, megabytes, size_of

Keep = Literal["auto", "all", "result"]


def left_out(keep: Keep, *, in_a_sweep: bool) -> tuple[str, ...]:
    """Name the files that a finished run does not keep; `auto` keeps no networks in a sweep."""
    return NETWORKS if keep == "result" or (keep == "auto" and in_a_sweep) else ()


def settle_files(folder: Path, names: tuple[str, ...]) -> str:
    """Remove the files `names` of a finished run; return a line on what is left and what was removed."""
    gone = [folder / name for name in names if (folder / name).is_file()]
    removed = sum(path.stat().st_size for path in gone)
    for path in gone:
        path.unlink()
    if gone:
        more = f"; networks were removed, {megabytes(removed)} (keep=all keeps them)"
    else:
        networks = sum((folder / name).stat().st_size for name in NETWORKS if (folder / name).is_file())
        more = f", networks {megabytes(networks)} of it (keep=result leaves them out)" if networks else ""
    return f"{folder} takes {megabytes(size_of(folder))}{more}"
