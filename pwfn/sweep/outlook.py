"""Print a sweep's plan, and the expected time of what is left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from pwfn.monitoring.eta import clock
from pwfn.records.files import PLAN
from pwfn.sweep.job import Job
from pwfn.sweep.table import add_row, differing, full_width, new_table

_SHOWN = 40  # jobs of a plan; the file has them all


def expected(config: DictConfig) -> dict[str, Any]:
    """Return the expected work of one job; an empty dict where the configuration does not tell."""
    if "schedule" not in config:  # not one of train.py, whose settings are not needed then
        return {}
    from pwfn.run.workload import of_config  # imports torch

    found = of_config(config)
    return asdict(found) if found else {}


def print_plan(sweep: Path, jobs: Sequence[Job], work: Mapping[int, dict[str, Any]], n_jobs: int, done: int) -> None:
    """Print all jobs with what distinguishes them and what they will take.

    Args:
        sweep: its folder.
        jobs: to be started.
        work: expected of each, by its number.
        n_jobs: how many run at a time.
        done: jobs that were finished before.
    """
    columns = [
        name for name in ("rounds", "epochs", "steps") if any(one.get(name) is not None for one in work.values())
    ]
    keys, asked = differing([job.overrides for job in jobs])
    table = new_table(keys, columns)
    for job, given in list(zip(jobs, asked, strict=True))[:_SHOWN]:
        one = work[job.number]
        cells = [f"{one[name]:,g}" if one.get(name) is not None else "" for name in columns]
        add_row(table, [str(job.number), *(given.get(key, "") for key in keys), *cells])
    total = sum(one.get("steps") or 0 for one in work.values())
    known = all(one.get("steps") is not None for one in work.values())
    parts = ["1 job" if len(jobs) == 1 else f"{len(jobs)} jobs", f"{n_jobs} at a time"]
    parts += [f"{total:,} training steps in all"] if known else []
    parts += [f"{done} finished before"] if done else []
    console = full_width(table)
    console.print(f"Plan: {', '.join(parts)}; {sweep / PLAN}", soft_wrap=True, markup=False, highlight=False)
    console.print(table)
    if len(jobs) > _SHOWN:
        console.print(f"... and {len(jobs) - _SHOWN} more")
    console.file.flush()


class Outlook:
    """Count jobs down and estimate the time of the rest once one was measured from start to end."""

    def __init__(self, n_jobs: int) -> None:
        self.n_jobs = n_jobs
        self.left: list[dict[str, Any]] = []
        self.measured: list[tuple[float, dict[str, Any]]] = []
        self.done = self.failed = 0

    def add(self, work: Sequence[dict[str, Any]], done: int = 0) -> None:
        """Add the work of jobs that are to be run; `done` more were finished before."""
        self.left += work
        self.done += done

    def ended(self, number: int, well: bool, work: dict[str, Any], seconds: float | None) -> None:
        """Count one ended job, and print how many are left.

        Args:
            number: of the job.
            well: whether it finished.
            work: what was expected of it.
            seconds: how long it took; None if its time is no measure.
        """
        self.left.remove(work)
        self.done, self.failed = self.done + well, self.failed + (not well)
        if seconds is not None:
            self.measured.append((seconds, work))
        if not self.left:
            return
        took = f" in {clock(seconds)}" if seconds is not None else ""
        failed = f", {self.failed} failed" if self.failed else ""
        left = self.seconds_left()
        about = f", about {clock(left)} if they take as long" if left is not None else ""
        ended = f"job {number} {'done' if well else 'failed'}{took}"
        print(f"pwfn: {ended}; {self.done} done{failed}, {len(self.left)} to go{about}", flush=True)

    def seconds_left(self) -> float | None:
        """Estimate by training steps where all are known, else by jobs; None before any measure."""
        if not self.measured:
            return None
        counted = all(one.get("steps") for one in [*self.left, *(work for _, work in self.measured)])
        sizes = [work["steps"] if counted else 1 for _, work in self.measured]
        rest = sum(one["steps"] if counted else 1 for one in self.left)
        return sum(seconds for seconds, _ in self.measured) / sum(sizes) * rest / min(self.n_jobs, len(self.left))
