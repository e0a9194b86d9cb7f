"""Collect every round and evaluation of run folders into tables, with command and commit.

    python scripts/study/collect.py multirun/<date>/<time> ... --name mobilenetv3

Writes results/<name>_rounds.csv, and of runs that evaluate.py was run on results/<name>_evaluations.csv. What is in
there already stays, but for the rows of the runs that are read again (a run is its command and commit). Unfinished runs
are left out and named.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from pwfn.records.files import write_text
from pwfn.report.collect import FINISHED, Run, find_runs, read_run
from pwfn.report.compare import figures, value_text
from pwfn.report.details import repeat

PROJECT = Path(__file__).resolve().parents[2]
RESULTS = PROJECT / "results"
RUN = {  # column: key of the configuration
    "network": "model.name",
    "seed": "seed",
    "tolerance": "tolerance._target_",
    "tolerance_value": "tolerance.value",
    "tolerance_share": "tolerance.share",
    "noise": "noise",
    "codebook": "codebook._target_",
    "b": "codebook.b",
    "max_order": "codebook.max_order",
    "values": "codebook.values",
    "bits": "codebook.bits",
    "scope": "codebook.scope",
    "clustering": "clustering._target_",
    "threshold": "clustering.start",
    "rate": "clustering.rate",
    "images": "clustering.images",
    "compensation": "clustering.compensation",
    "output_factors": "clustering.output_factors",
    "image_size": "data.image_size",
    "val_fraction": "data.val_fraction",
    "least": "clustering.least",
    "sigma_join": "sigma_join._target_",
    "lr": "optimizer.lr",
    "rest_epochs": "schedule.rest_epochs",
    "finish_epochs": "finish.epochs",
    "distillation": "distillation.weight",
}
ROUND = (
    "round",
    "fraction",
    "trained/top1",
    "clustered/top1",
    "clustered/loss",
    "clustered/val_top1",
    "codebook_size",
    "unique_weights",
    "entropy_bits",
    "threshold",
    "tensor_values",
    "tensor_entropy_bits",
)


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--name", required=True, help="of the tables")
    args = parser.parse_args()
    runs = [read_run(folder, folder.name) for folder in find_runs(args.folders)[0]]
    for run in runs:
        if run.status != FINISHED:
            print(f"left out: {run.folder} is {run.status} ({run.reason})", file=sys.stderr)
    runs = [run for run in runs if run.status == FINISHED]
    if not runs:
        raise SystemExit(f"no finished run in {', '.join(map(str, args.folders))}")
    refuse_twins(runs)
    add(RESULTS / f"{args.name}_rounds.csv", [row for run in runs for row in rounds(run)])
    add(RESULTS / f"{args.name}_evaluations.csv", [row for run in runs for row in evaluations(run)])


def refuse_twins(runs: Iterable[Run]) -> None:
    """Refuse two runs of one command and commit: they would be one in the tables."""
    seen: dict[tuple[Any, Any], Path] = {}
    for run in runs:
        key = of_run(identity(run))
        if key in seen:
            raise SystemExit(f"{run.folder} and {seen[key]} have the same command and commit: give one of them")
        seen[key] = run.folder


def identity(run: Run) -> dict[str, Any]:
    """Return what is the same in all rows of a run."""
    made = dict(repeat(run))
    versions = run.facts.get("versions") or {}
    settings = {column: value_text(run.config, key) if key in run.config else "" for column, key in RUN.items()}
    return {
        **settings,
        "pretrained_top1": run.pretrained,
        "command": made["command"],
        "commit": run.facts.get("commit"),
        "torch": versions.get("torch"),
        "timm": versions.get("timm"),
        "threads": made["threads"],
    }


def rounds(run: Run) -> Iterable[dict[str, Any]]:
    """Yield the rows of a run; the last one also has the size of the file."""
    final = figures(run)
    for row in run.rounds:
        last = row is run.rounds[-1]
        size = {"file_mb": final["file_mb"] if last else None, "minutes": final["minutes"] if last else None}
        yield {**identity(run), **{key: row.get(key) for key in ROUND}, **size}


def evaluations(run: Run) -> Iterable[dict[str, Any]]:
    """Make a row for each figure of `evaluation.json`: long, so that any measurements fit."""
    try:
        found = json.loads((run.folder / "evaluation/evaluation.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return
    for figure, value in leaves(found):
        yield {**identity(run), "figure": figure, "value": value}


def leaves(tree: Any, path: tuple[str, ...] = ()) -> Iterable[tuple[str, float]]:
    """Return every number of a tree by its path; texts and level tell the rows of a table apart."""
    if isinstance(tree, Mapping):
        for key, below in tree.items():
            yield from leaves(below, (*path, str(key)))
    elif isinstance(tree, list):
        for row in (row for row in tree if isinstance(row, Mapping)):
            names = [str(value) for key, value in row.items() if isinstance(value, str) or key == "level"]
            yield from leaves({key: value for key, value in row.items() if key != "level"}, (*path, *names))
    elif isinstance(tree, int | float) and not isinstance(tree, bool):
        yield "/".join(path), tree


def add(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write `rows` beside those in `path` that are of other runs."""
    if not rows:
        return
    new = {of_run(row) for row in rows}
    before: list[dict[str, Any]] = []
    if path.exists():
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            if reader.fieldnames != list(rows[0]):
                raise SystemExit(f"{path}: has other columns than these runs; collect all of them into a new file")
            before = [row for row in reader if of_run(row) not in new]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(before + rows)
    write_text(path, text.getvalue())
    print(f"{path}: {len(rows)} rows of {len(new)} runs, {len(before)} rows of others kept")


def of_run(row: Mapping[str, Any]) -> tuple[Any, Any]:
    """Return what identifies the run of a row: its command and its commit."""
    return row["command"], row["commit"]


if __name__ == "__main__":
    main()
