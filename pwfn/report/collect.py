"""Find the folders of runs, and read what each says of its run."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pwfn.config.nested import flat
from pwfn.config.secrets import without_given_secrets, without_secrets
from pwfn.records import failure
from pwfn.records.files import CONFIG, HISTOGRAM, JOBS, LAYERS, PROVENANCE, RECORDS, RESULT, SUMMARY_FILE
from pwfn.records.layer_table import LAYER_COLUMNS
from pwfn.records.rounds import CLUSTER_COLUMNS, COLUMNS
from pwfn.renamed import with_present_names
from pwfn.report.files import Number, RunFiles, number

HYDRA = ".hydra"  # which Hydra leaves in every job's folder before the job begins
MARKS = (RECORDS, RESULT, SUMMARY_FILE, PROVENANCE, HYDRA)  # any of these makes a folder that of a run
FINISHED, UNFINISHED, FAILED = "finished", "unfinished", "failed"
WITHOUT_TRAINING = {"dry_run": "dry run", "inspect": "inspection"}  # by the key that asks for it


@dataclass(frozen=True)
class Run:
    """Hold what the folder of one run says; everything that is not there is None or empty.

    `config` has dotted keys, `rounds` and `layers` the keys of their columns, `clusters` are those of the last round,
    `result` are the figures for the table of a sweep, `size` is the receipt of the artifact, `histogram` the fields of
    a `WeightHistogram`, and `problems` has a line for each file that could not be read.
    """

    folder: Path
    name: str
    status: str
    reason: str | None = None
    config: dict[str, Any] = field(default_factory=dict)
    rounds: list[dict[str, Number]] = field(default_factory=list)
    clusters: list[dict[str, Number]] = field(default_factory=list)
    layers: list[dict[str, Any]] = field(default_factory=list)
    histogram: dict[str, Any] | None = None
    result: dict[str, Number] = field(default_factory=dict)
    pretrained: Number = None
    size: dict[str, Number] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    @property
    def can_go_on(self) -> bool:
        """Tell whether `train.py resume=` takes it: it has a configuration of its own, and no result."""
        return self.status in (UNFINISHED, FAILED) and (self.folder / CONFIG).is_file()

    @property
    def planned_rounds(self) -> int | None:
        """Count the rounds of its schedule; None where its configuration has none."""
        fractions = self.config.get("schedule.fractions")
        return len(fractions) if isinstance(fractions, list) else None


@dataclass(frozen=True)
class Job:
    """Hold what the table of a sweep says of one of its jobs.

    Attributes:
        number: of the job.
        ended: its status there.
        reason: why it failed.
        overrides: that the sweep gave it.
    """

    number: int | None
    ended: str
    reason: str | None
    overrides: list[str]


def find_runs(folders: Sequence[Path]) -> tuple[list[Path], dict[Path, Job]]:
    """Find the folders of all runs in and below `folders`, each once, in the order of their names.

    A run holds no other run.

    Returns:
        The folders of the runs, and the jobs of all sweeps there by their resolved folders, which are runs too, whether
        they began or not.
    """
    found: dict[Path, Path] = {}
    jobs: dict[Path, Job] = {}
    for top in folders:
        for place, below, files in os.walk(top):
            if JOBS in files:
                jobs |= _jobs(Path(place))
            if Path(place).resolve() in jobs or any(mark in files or mark in below for mark in MARKS):
                found.setdefault(Path(place).resolve(), Path(place))
                below.clear()
            below[:] = sorted((one for one in below if not one.startswith(".")), key=_natural)
    return list(found.values()), jobs


def _jobs(sweep: Path) -> dict[Path, Job]:
    """Read the table of a sweep; what a damaged one lacks is in the folders of its jobs."""
    listed = RunFiles(sweep).json(JOBS, list) or []
    jobs = {}
    for one in (row for row in listed if isinstance(row, dict)):
        overrides, reason, code = one.get("overrides"), one.get("reason"), number(one.get("exit_code"))
        why = str(reason) if reason else f"exit code {code}" if code else None
        lines = [str(line) for line in overrides] if isinstance(overrides, list) else []
        place = (sweep / str(one.get("folder"))).resolve()
        of_job = one.get("job")
        jobs[place] = Job(of_job if isinstance(of_job, int) else None, str(one.get("status")), why, lines)
    return jobs


def _natural(name: str) -> tuple[tuple[int, int | str], ...]:
    """Sort 2_... before 10_...: the jobs of a sweep are numbered."""
    number, rest = "", name
    while rest and rest[0].isdecimal():
        number, rest = number + rest[0], rest[1:]
    return ((0, int(number)) if number.isascii() and number else (1, 0), (1, rest))


def read_run(folder: Path, name: str, job: Job | None = None) -> Run:
    """Read everything that a run's folder and its sweep say of it.

    Args:
        folder: the folder of the run.
        name: its name where its configuration gives it none.
        job: what the table of its sweep says.
    """
    files = RunFiles(folder)
    config = flat(
        without_secrets(with_present_names(files.yaml(CONFIG, dict) or files.yaml(f"{HYDRA}/{CONFIG}", dict) or {}))
    )
    summary = files.json(SUMMARY_FILE, dict) or {}
    facts = files.json(PROVENANCE, dict) or {}
    run_facts = summary.get("run")
    facts |= run_facts if isinstance(run_facts, dict) else {}
    overrides = files.yaml(f"{HYDRA}/overrides.yaml", list) or (job.overrides if job else [])
    facts["overrides"] = [without_given_secrets(str(line)) for line in overrides]
    pretrained, size = summary.get("pretrained"), facts.pop("artifact", None)
    rounds = files.rows(RECORDS, COLUMNS, files.json(RECORDS, list) or [])
    status, reason = _status(files, config, job)
    given = config.get("name")
    return Run(
        folder=folder,
        name=str(given) if given else name,
        status=status,
        reason=reason,
        config=config,
        rounds=rounds,
        clusters=_last_round(files.table("clusters.csv", CLUSTER_COLUMNS)),
        layers=files.table(LAYERS, LAYER_COLUMNS) if status in (FINISHED, UNFINISHED, FAILED) else [],
        histogram=_histogram(files),
        result=_numbers((files.json(RESULT, dict) or {}).get("summary")),
        pretrained=number(pretrained.get("top1")) if isinstance(pretrained, dict) else None,
        size=_numbers(size),
        facts=facts,
        problems=files.problems,
    )


def _status(files: RunFiles, config: Mapping[str, Any], job: Job | None) -> tuple[str, str | None]:
    if (files.folder / RESULT).is_file():  # written when the run has all its figures
        return next((word for key, word in WITHOUT_TRAINING.items() if config.get(key) is True), FINISHED), None
    left = (files.json(failure.FILE, dict) or {}).get("reason")
    reason = left if isinstance(left, str) else job.reason if job else None
    stopped = job.ended != "failed" if job else reason is None or reason.startswith("stopped by")
    return UNFINISHED if stopped else FAILED, reason


def _numbers(found: Any) -> dict[str, Number]:
    return {str(key): number(value) for key, value in found.items()} if isinstance(found, dict) else {}


def _last_round(rows: Iterable[dict[str, Any]]) -> list[dict[str, Number]]:
    used = [row for row in rows if row["round"] is not None and row["value"] is not None and row["count"]]
    last = max((row["round"] for row in used), default=None)
    return sorted((row for row in used if row["round"] == last), key=lambda row: row["value"])


def _histogram(files: RunFiles) -> dict[str, Any] | None:
    """Read weights.json, if its numbers can be drawn."""
    found = files.json(HISTOGRAM, dict)
    if found is None:
        return None
    lists = {key: found.get(key) for key in ("before", "values", "counts")}
    drawn = {key: [number(n) for n in one] if isinstance(one, list) else [] for key, one in lists.items()}
    scale = {key: number(found.get(key)) or 0 for key in ("weights", "width", "reach", "distinct")}
    whole = all(one and None not in one for one in drawn.values()) and len(drawn["values"]) == len(drawn["counts"])
    if not whole or not 1e-30 < scale["width"] < scale["reach"] < 1e30:
        files.problems.append(f"{HISTOGRAM}: its numbers are not complete")
        return None
    return {**drawn, **scale}
