"""Collect what the page shows of one run: curves, codebook, histogram, layers, how to repeat it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pwfn.config import program
from pwfn.records.layer_table import LAYER_COLUMNS
from pwfn.records.provenance import CHANGED
from pwfn.records.rounds import COLUMNS
from pwfn.records.weight_histogram import WeightHistogram, as_fraction
from pwfn.report.collect import Run
from pwfn.report.facts import facts, files
from pwfn.report.files import number

MOST_ENTRIES = 1024  # of a codebook; the most frequent
MOST_LAYERS = 400  # the largest
OF_A_JOB = ("hydra.run.dir=", "hydra.mode=", "hydra.job.num=")  # where its sweep put it; a repetition goes elsewhere


def details(run: Run, page: Path = Path(".")) -> dict[str, Any]:
    """Return the details of a run for JSON; tables are columns, which take less room than rows.

    Args:
        run: what its folder says.
        page: the folder that the report will be in.
    """
    return {
        "facts": facts(run),
        "files": files(run, page),
        "rounds": rounds(run),
        "codebook": codebook(run),
        "histogram": histogram(run),
        "layers": layers(run),
        "repeat": repeat(run),
        "problems": run.problems,
    }


def rounds(run: Run) -> dict[str, Any] | None:
    """Return the records of the rounds by column.

    `label` counts from 1, as the console does; the finishing is no round.
    """
    if not run.rounds:
        return None
    done = [row["fraction"] for row in run.rounds]
    label = ["finish" if 1 in done[:index] else str(index + 1) for index in range(len(done))]
    return {"label": label, **{key: [row[key] for row in run.rounds] for key in COLUMNS}}


def codebook(run: Run) -> dict[str, Any] | None:
    """Return the most frequent entries of the last codebook."""
    if not run.clusters:
        return None
    rows = run.clusters
    if len(rows) > MOST_ENTRIES:
        least = sorted((row["count"] or 0 for row in rows), reverse=True)[MOST_ENTRIES - 1]
        rows = [row for row in rows if (row["count"] or 0) >= least][:MOST_ENTRIES]
    return {"of": len(run.clusters), **{key: [row[key] for row in rows] for key in ("value", "order", "count")}}


def histogram(run: Run) -> dict[str, Any] | None:
    """Return the histogram of the weights, with ticks and their labels."""
    if run.histogram is None:
        return None
    spread = WeightHistogram(**run.histogram)
    ticks = spread.ticks()
    return {**spread.as_dict(), "ticks": ticks, "labels": [as_fraction(tick) for tick in ticks]}


def layers(run: Run) -> dict[str, Any] | None:
    """Return the rows of the largest layers, by column."""
    if not run.layers:
        return None
    rows = run.layers
    if len(rows) > MOST_LAYERS:
        least = sorted((row["weights"] or 0 for row in rows), reverse=True)[MOST_LAYERS - 1]
        rows = [row for row in rows if (row["weights"] or 0) >= least][:MOST_LAYERS]
    return {"of": len(run.layers), **{key: [_short(row[key]) for row in rows] for key in LAYER_COLUMNS}}


def _short(value: Any) -> Any:
    """Round to six digits: layers.csv has all, and a hundred runs have thousands of layers."""
    return float(f"{value:.6g}") if isinstance(value, float) else value


def repeat(run: Run) -> list[list[str]]:
    """Say how to make this run again: a name and a text for each thing that is known."""
    facts = run.facts
    commit = str(facts.get("commit") or "")
    changed = " (with changes that were not committed)" if commit.endswith(CHANGED) else ""
    versions = facts.get("versions")
    known = {
        "command": _command(facts.get("command"), facts.get("overrides")),
        "commit": commit.removesuffix(CHANGED) + changed,
        "versions": ", ".join(f"{k} {v}" for k, v in versions.items()) if isinstance(versions, dict) else "",
        "seed": _text(run.config.get("seed")),
        "threads": _text(facts.get("threads")),
        "processes": _text(facts.get("processes")),
        "folder": str(run.folder.absolute()),
    }
    return [[name, text or "not recorded"] for name, text in known.items()]


def _text(value: Any) -> str:
    return "" if number(value) is None else str(value)


def _command(command: Any, overrides: Any) -> str:
    """Return what to type, without what only placed the job."""
    if isinstance(command, str) and command:
        try:
            words = shlex.split(command)
        except ValueError:
            return f"python {command}"
        start = ["python"] if words and words[0].endswith(".py") else []  # not of `pwfn train ...`
        return shlex.join([*start, *_without_place(words)])
    if isinstance(overrides, list):
        return shlex.join([*program.typed("train"), *_without_place([str(line) for line in overrides])])
    return ""


def _without_place(words: Sequence[str]) -> list[str]:
    left = [word for word in words if not word.startswith(OF_A_JOB)]
    at = left.index("--config-name") if "--config-name" in left else len(left)
    if left[at : at + 2] == ["--config-name", "train"]:  # the default, which a sweep's launcher spells out
        del left[at : at + 2]
    return left


def as_json(content: Any) -> str:
    """Write JSON that can stand in a script element of a page.

    No sequence of it ends the element or begins a comment.
    """
    text = json.dumps(content, allow_nan=False, separators=(",", ":"), ensure_ascii=True)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
