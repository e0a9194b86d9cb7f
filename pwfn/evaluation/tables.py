"""Lay out the tables of an evaluation for the console, evaluation.json and classes.csv."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table

from pwfn.evaluation.bootstrap import LEVEL
from pwfn.evaluation.measure import Measured, Row
from pwfn.evaluation.metrics import METRICS, by_class
from pwfn.evaluation.subject import Subject
from pwfn.records.columns import csv_of
from pwfn.records.files import write_text

MOST_CLASSES = 12  # that the console shows; classes.csv has all
WITH_INTERVAL = ("top1", "nll", "brier", "ece")


@dataclass(frozen=True)
class Section:
    """Hold what an analysis found.

    `name` is its key and `content` its value in evaluation.json; `shown` are tables and lines for the console.
    """

    name: str
    content: Any
    shown: tuple[Table | str, ...]


def new_table(*headings: str, left: int = 1, title: str | None = None) -> Table:
    """Return an empty table.

    Args:
        *headings: of its columns.
        left: how many of the columns, from the left, are text; the others are numbers.
        title: None for none.
    """
    table = Table(
        title=title,
        title_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=0,
        header_style="bold",
    )
    for index, heading in enumerate(headings):
        table.add_column(heading, justify="left" if index < left else "right", no_wrap=True)
    return table


def metrics_table(measured: Measured) -> Table:
    """Return a table of every network in every mode, a row each, at most 80 columns wide."""
    headings = [f"{metric.heading}\n{metric.unit}" for metric in METRICS]
    members = {len(row.answers.member_top1) for row in measured.rows if row.answers.member_top1 is not None}
    title = f"{measured.images:,} test images" + "".join(f"; ensembles of {count}" for count in members)
    table = new_table("network", "weights", *headings, left=2, title=title)
    for row in measured.rows:
        cells = [row.figures[metric.name] for metric in METRICS]
        table.add_row(*_names(row, measured), *(_number(v, m.digits) for v, m in zip(cells, METRICS, strict=True)))
    return table


def intervals_table(measured: Measured) -> Table:
    """Return a table of the intervals of the main figures."""
    chosen = [metric for metric in METRICS if metric.name in WITH_INTERVAL]
    headings = [f"{metric.heading} {metric.unit}".strip() for metric in chosen]
    table = new_table("network", "weights", *headings, left=2, title=f"{100 * LEVEL:g} % intervals")
    for row in measured.rows:
        spans = [_span(*row.intervals[metric.name], metric.digits - 1) for metric in chosen]
        table.add_row(*_names(row, measured), *spans)
    return table


def _span(low: float, high: float, digits: int) -> str:
    return f"{low:.{digits}f} - {high:.{digits}f}"


def _names(row: Row, measured: Measured) -> tuple[str, str]:
    first = next(one for one in measured.rows if one.network == row.network)
    return row.network if row is first else "", row.mode


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def classes_table(row: Row, names: Sequence[str], classes: Sequence[Mapping[str, float]]) -> Table:
    """Return a table of the classes that are recognized worst, or of all where there are few.

    Args:
        row: the network and mode that the figures are of.
        names: the name of each class.
        classes: the figures of each class, as `metrics.by_class` gives them.
    """
    shown = list(classes)
    title = f"{row.network}, {row.mode} weights: by class"
    if len(shown) > MOST_CLASSES:
        seen = [one for one in shown if one["images"]]
        shown = sorted(seen, key=lambda one: one["recall"])[:MOST_CLASSES]
        title += f" (the {MOST_CLASSES} of lowest recall; classes.csv has all {len(classes)})"
    table = new_table("class", "images", "recall %", "chosen", "precision %", "confidence %", title=title)
    for one in shown:
        table.add_row(
            names[int(one["class"])],
            f"{one['images']:,}",
            _percent(one["recall"]),
            f"{one['chosen']:,}",
            _percent(one["precision"]),
            _percent(100 * one["confidence"]),
        )
    return table


def _percent(value: float) -> str:
    """Return nothing where a class has no images, or was never the answer."""
    return "" if math.isnan(value) else f"{value:.2f}"


def recorded_lines(subject: Subject, measured: Measured) -> list[str]:
    """Say whether the scores at the mean weights are those that were recorded, network by network."""
    lines = []
    differ = {
        name: recorded
        for name, recorded in subject.recorded.items()
        if name in measured.at_mean and measured.at_mean[name] != recorded
    }
    for name, recorded in differ.items():
        lines.append(f"{name} was recorded with {_scores(recorded)}, and has {_scores(measured.at_mean[name])}.")
    if subject.recorded and not differ:
        lines.append(f"The scores at the mean weights equal {subject.of} to the last digit.")
    elif differ:
        lines.append(f"The scores at the mean weights DIFFER from {subject.of} (other images, machine or threads?).")
    return lines


def _scores(scores: Any) -> str:
    return f"top1 {scores.top1:.6g} %, top5 {scores.top5:.6g} %, loss {scores.loss:.10g}"


def change_lines(measured: Measured) -> list[str]:
    """Say how much top1 changed from the first network on."""
    lines = []
    for change in measured.changes:
        if change.metric == "top1":
            low, high = change.interval
            lines.append(
                f"top1 {change.network} less {change.before}: {change.value:+.2f} points "
                f"({100 * LEVEL:g} %: {low:+.2f} to {high:+.2f})"
            )
    return lines


def write_classes(path: Path, measured: Measured, names: Sequence[str]) -> None:
    """Write classes.csv: one row for each class of each network in each mode.

    Args:
        path: the file.
        measured: the figures.
        names: of the classes, in the order of the labels.
    """
    headings = ("network", "weights", "class", "images", "recall", "chosen", "precision", "confidence")
    rows = (
        [row.network, row.mode, names[int(one.pop("class"))], *one.values()]
        for row in measured.rows
        for one in by_class(row.answers, len(names))
    )
    write_text(path, csv_of(headings, rows))


def as_json(
    subject: Subject, measured: Measured, facts: Mapping[str, Any], sections: Sequence[Section]
) -> dict[str, Any]:
    """Return the content of evaluation.json.

    Args:
        subject: what was evaluated.
        measured: the figures of all networks.
        facts: what is needed to repeat the evaluation; it stands at the top level.
        sections: what the optional analyses found, each under its own name.
    """
    return {
        "subject": subject.title,
        "images": measured.images,
        **facts,
        "rows": [row.flat() for row in measured.rows],
        "changes": [asdict(change) for change in measured.changes],
        "recorded": {
            name: {**asdict(recorded), "equal": recorded == measured.at_mean[name]}
            for name, recorded in subject.recorded.items()
            if name in measured.at_mean
        },
        **{section.name: section.content for section in sections},
        "notes": list(subject.notes),
    }


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write evaluation.json."""
    write_text(path, json.dumps(content, indent=1) + "\n")
