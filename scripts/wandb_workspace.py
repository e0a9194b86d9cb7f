"""Build the W&B workspace and report of docs/wandb.md, or write them as JSON without an account.

python scripts/wandb_workspace.py --project pwfn          # needs pip install 'pwfn[wandb-workspaces]', wandb login
python scripts/wandb_workspace.py --json view.json        # needs neither, and sends nothing
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NAME = "pwfn: accuracy against size"


@dataclass(frozen=True)
class Scatter:
    """Plot a point a run: the last value of one key over that of another."""

    title: str
    x: str
    y: str


@dataclass(frozen=True)
class Lines:
    """Plot a line a run and key."""

    title: str
    x: str
    y: tuple[str, ...]


@dataclass(frozen=True)
class Parallel:
    """Plot an axis for each key of the configuration, then for each last value; a line a run."""

    title: str
    config: tuple[str, ...]
    summary: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """Show the last table of every run, to filter and sort."""

    title: str
    key: str


@dataclass(frozen=True)
class Pictures:
    """Show a picture of each step, with a slider."""

    title: str
    key: str


Panel = Scatter | Lines | Parallel | Table | Pictures


@dataclass(frozen=True)
class Section:
    """Group panels that answer one question, which the report asks in a sentence."""

    title: str
    question: str
    panels: tuple[Panel, ...]


COLUMNS = ("clustered/top1", "top1_drop", "entropy_bits", "artifact_mb", "unique_weights", "codebook_size")  # of runs
SETTINGS = ("codebook.b", "clustering.inc", "clustering.start", "regularizer.strength", "optimizer.lr", "seed")
SECTIONS = (
    Section(
        "Accuracy against size",
        "Which runs are small and good, and which settings they have.",
        (
            Scatter("Accuracy against bits", "entropy_bits", "clustered/top1"),
            Scatter("Accuracy against megabytes", "artifact_mb", "clustered/top1"),
            Scatter("Lost accuracy against bits", "entropy_bits", "top1_drop"),
            Parallel("From settings to bits and accuracy", SETTINGS, COLUMNS),
        ),
    ),
    Section(
        "Over rounds",
        "In which round accuracy is lost, and how fast the network gets small.",
        (
            Lines("Accuracy before and after the clustering", "round", ("trained/top1", "clustered/top1")),
            Lines("Entropy", "round", ("entropy_bits", "tensor_entropy_bits")),
            Lines("Values in use", "round", ("codebook_size", "unique_weights", "tensor_values")),
            Lines("Fixed weights", "round", ("fraction",)),
            Lines("Sigma", "round", ("sigma_mean", "sigma_median", "sigma_max")),
            Lines("Threshold", "round", ("threshold",)),
        ),
    ),
    Section(
        "The codebook",
        "Which values are shared, by how many weights, and of which order they are.",
        (
            Table("Centroids and their members", "clusters"),
            Pictures("The codebook of each round", "codebook"),
            Lines("Weights by order", "round", tuple(f"order_{order}_share" for order in range(5))),
        ),
    ),
    Section(
        "Training",
        "Whether training keeps up, and whether the sigmas collapse.",
        (
            Lines("Cross entropy", "trainer/global_step", ("train/cross_entropy",)),
            Lines("Sigmas", "trainer/global_step", ("train/sigma_mean", "train/sigma_min", "train/sigma_max")),
            Lines("Gradients", "trainer/global_step", ("train/grad_norm",)),
            Lines("Speed", "trainer/global_step", ("train/images_per_second",)),
        ),
    ),
)


def described() -> dict[str, Any]:
    """Return what is built as JSON: the columns of the table of runs, and every panel with its keys."""
    sections = [
        {
            "title": section.title,
            "question": section.question,
            "panels": [{"kind": type(one).__name__, **dataclasses.asdict(one)} for one in section.panels],
        }
        for section in SECTIONS
    ]
    told: dict[str, Any] = {"name": NAME, "columns": COLUMNS, "settings": SETTINGS, "sections": sections}
    read: dict[str, Any] = json.loads(json.dumps(told))  # with lists for tuples, as the file's readers get it
    return read


def built(panel: Panel, **layout: Any) -> Any:
    """Convert a panel to one of wandb-workspaces."""
    import wandb_workspaces.reports.v2 as reports

    match panel:
        case Scatter():
            x, y = reports.SummaryMetric(panel.x), reports.SummaryMetric(panel.y)
            return reports.ScatterPlot(title=panel.title, x=x, y=y, **layout)
        case Lines():
            # rounds are few, and each counts: neither smoothed nor sampled
            return reports.LinePlot(title=panel.title, x=panel.x, y=list(panel.y), smoothing_type="none", **layout)
        case Parallel():
            axes = [reports.Config(key) for key in panel.config] + [reports.SummaryMetric(key) for key in panel.summary]
            columns = [reports.ParallelCoordinatesPlotColumn(metric=axis, display_name=axis.name) for axis in axes]
            return reports.ParallelCoordinatesPlot(title=panel.title, columns=columns, **layout)
        case Table():
            return reports.WeavePanelSummaryTable(table_name=panel.key, **layout)
        case Pictures():
            return reports.MediaBrowser(title=panel.title, media_keys=[panel.key], gallery_axis="step", **layout)


def workspace(entity: str, project: str) -> Any:
    """Return the workspace, unsaved; W&B adds a panel for each key that has none, histograms among them."""
    import wandb_workspaces.workspaces as workspaces

    settings = [f"config:{first}.value{dot}{rest}" for first, dot, rest in (key.partition(".") for key in SETTINGS)]
    return workspaces.Workspace(
        entity=entity,
        project=project,
        name=NAME,
        sections=[
            workspaces.Section(name=section.title, panels=[built(one) for one in section.panels], is_open=True)
            for section in SECTIONS
        ],
        runset_settings=workspaces.RunsetSettings(
            pinned_columns=["run:displayName", *(f"summary:{key}" for key in COLUMNS), *settings]
        ),
        auto_generate_panels=True,
    )


def report(entity: str, project: str) -> Any:
    """Return the report, unsaved: the same panels, with a sentence about each section."""
    import wandb_workspaces.reports.v2 as reports

    blocks: list[Any] = [reports.TableOfContents()]
    for section in SECTIONS:
        panels = [
            built(one, layout=reports.Layout(x=12 * (place % 2), y=8 * (place // 2), w=12, h=8))
            for place, one in enumerate(section.panels)
        ]
        runs = reports.Runset(entity=entity, project=project, name="All runs")
        blocks += [reports.H2(section.title), reports.P(section.question), reports.PanelGrid([runs], panels=panels)]
    return reports.Report(
        entity=entity,
        project=project,
        title=NAME,
        description="Made by scripts/wandb_workspace.py of pwfn; docs/wandb.md says what each key means.",
        blocks=blocks,
        width="fluid",
    )


def save(entity: str | None, project: str) -> list[str]:
    """Save both at the server, and return their addresses.

    Raises:
        ValueError: where there is no such project.
        wandb.errors.Error: where the server refuses, or nobody is logged in.
    """
    import wandb

    entity = entity or wandb.Api().default_entity or ""
    # the report first: it is the one that asks whether there is such a project
    return [one.save().url for one in (report(entity, project), workspace(entity, project))]


def main() -> None:
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--entity", default=os.environ.get("WANDB_ENTITY"), help="default: WANDB_ENTITY, the account's")
    parser.add_argument("--project", default=os.environ.get("WANDB_PROJECT", "pwfn"), help="one that has runs")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write down what would be built, and send nothing")
    given = parser.parse_args()
    if given.json:
        try:
            given.json.write_text(json.dumps(described(), indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            sys.exit(f"pwfn: {error}")
        return
    try:
        import wandb_workspaces  # noqa: F401
    except ImportError:
        sys.exit("pwfn: wandb-workspaces is not installed (pip install 'pwfn[wandb-workspaces]')")
    from wandb.errors import Error

    try:
        for address in save(given.entity, given.project):
            print(address)
    except (Error, ValueError) as error:
        sys.exit(f"pwfn: {' '.join(str(error).split())}")


if __name__ == "__main__":
    main()
