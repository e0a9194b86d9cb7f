"""Print and write what a dry run finds (`dry_run=true`)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from torch import nn

from pwfn.bayesian.coverage import coverage
from pwfn.checkpoint import saved_config
from pwfn.clustering.tolerance import Gradients
from pwfn.data.module import ImageDataModule
from pwfn.models.input_size import size_fault
from pwfn.models.random_weights import new_head_classes
from pwfn.models.timm_model import build_bayesian, data_config
from pwfn.monitoring.console import show
from pwfn.preview.displacement import TensorMove
from pwfn.preview.dry_run import DryRun, DryRunRecord, Images
from pwfn.preview.inspection import headline, show_coverage, write_coverage
from pwfn.preview.verdict import Alarm, verdict, with_weights
from pwfn.randomness import seed_run
from pwfn.records.columns import Column, by_key, csv_text
from pwfn.records.files import write_text
from pwfn.records.rounds import write_result
from pwfn.run.rounds.tolerance_gradients import gradients_for
from pwfn.run.settings import TrainSettings
from pwfn.run.starting_sigmas import set_starting_sigmas

ALARM = "bold red"
DISPLACED = 10  # tensors that are listed by name
Asked = tuple[Gradients | None, Images | None]
FIGURES = ("codebook_size", "entropy_bits", "entropy_mb", "relative_mean", "tolerances_mean", "threshold")

LAYER_COLUMNS = by_key(
    Column("name", "the tensor, as in the model's own state dict", "text", str),
    Column("weights", "its elements", "weights", int),
    Column("l2", "Euclidean norm of its move over that of its starting weights; nan if these are all 0", "share"),
    Column("relative", "mean of |move| / |starting weight| over its weights that do not start at 0", "share"),
    Column("tolerances", "mean of |move| / starting tolerance (a sigma by default)", "tolerances"),
)


def dry_run(
    settings: TrainSettings, config: dict[str, Any], folder: Path, console: Console | None = None
) -> list[DryRunRecord]:
    """Cluster a network through all rounds without training; print the figures and write them to `folder`."""
    console = console or Console()
    seed_run(settings.seed)
    data = settings.data
    remarks: list[str] = []
    network = build_bayesian(
        settings.model, num_classes=data.classes_if_known, in_chans=data.channels, say=remarks.append
    )
    alarms = _alarms(settings, network)
    cover = coverage(network)
    saved_config.write_config(folder, config)
    write_coverage(cover, folder)
    if not settings.quiet:
        for alarm in alarms:
            show(console, alarm.text, ALARM)
        for remark in remarks:
            show(console, remark)
        show_coverage(cover, headline(settings, network), console)
    images = _images(settings, network)
    set_starting_sigmas(network, settings, images, partial(show, console))
    run = DryRun(network, settings, *_looked_at(settings, network, images))
    sizes = not settings.model.random_weights  # of random numbers they mean nothing
    records = _rounds(run, folder, None if settings.quiet else console, sizes)
    layers = run.layers()
    write_text(folder / "layers.csv", csv_text(LAYER_COLUMNS, map(asdict, layers)))
    last = records[-1].flat()
    write_result(folder, records[-1].size.entropy_mb, {key: last[key] for key in FIGURES})
    if sizes:
        _show_result(console, run, records, layers, settings.tolerance.label)
    names = sorted(path.name for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    show(console, f"Files in {folder}: {', '.join(names)}")
    for alarm in alarms:
        show(console, alarm.text, ALARM)
    show(console, verdict(records[-1].size, alarms))
    return records


def _rounds(run: DryRun, folder: Path, console: Console | None, sizes: bool) -> list[DryRunRecord]:
    """Go through the rounds and write each when it ends, with a line on the console if there is one."""
    records: list[DryRunRecord] = []
    for record in run.rounds():
        records.append(record)
        write_rounds(records, folder)
        if console is not None:
            show(console, round_line(record, sizes))
    return records


def _show_result(
    console: Console, run: DryRun, records: Sequence[DryRunRecord], layers: Sequence[TensorMove], unit: str
) -> None:
    for table in (
        size_table(records, run.per_tensor),
        distance_table(records, unit),
        layers_table(layers[:DISPLACED], unit),
    ):
        show(console, "")
        show(console, table)
    show(console, "\n" + conclusion(records[-1], run.start.mu.numel(), run.zeros, unit, run.per_tensor))


def _images(settings: TrainSettings, network: nn.Module) -> ImageDataModule | None:
    """Return the images where sigma, the tolerance or the clustering looks at some; else none is read."""
    asked = (settings.sigma.curvature_images, settings.tolerance.sees_images, settings.clustering.calibration_images)
    if not any(asked):
        return None
    settings.data.check_layout()
    return ImageDataModule(settings.data, data_config(network), settings.seed)


def _looked_at(settings: TrainSettings, network: nn.Module, data: ImageDataModule | None) -> Asked:
    """Return what the tolerance and the clustering may ask for."""
    return (None, None) if data is None else (gradients_for(settings.tolerance, network, data), data.calibration_images)


def _alarms(settings: TrainSettings, network: nn.Module) -> list[Alarm]:
    """Warn that no such run can be made, or that the figures are of another network than the one meant."""
    name, pretraining = settings.model.name, settings.pretrain.epochs
    fault = size_fault(settings.model, settings.data)
    alarms = [Alarm(f"A RUN WILL BE REFUSED: {fault}", f"none: a run will be refused. {fault}")] if fault else []
    if settings.model.random_weights:
        later = f", which the {pretraining} epochs of pretraining in a real run would change" if pretraining else ""
        alarms.append(
            Alarm(
                f"RANDOM WEIGHTS: no file of weights was given for {name}, so all figures are those of freshly "
                f"initialized weights{later}. Give it real ones with model.checkpoint=<file> or model.pretrained=true.",
                "none: sizes of random weights mean nothing, so they are not shown. With weights of yours: "
                + with_weights(),
            )
        )
    elif classes := new_head_classes(settings.model, network):
        text = (
            f"RANDOM HEAD: the weights are for {classes[0]} classes, {type(settings.data).__name__} has {classes[1]}, "
            f"so the classifier was initialized anew. With data=image_folder and no folder it keeps its own."
        )
        alarms.append(Alarm(text))
    return alarms


def write_rounds(records: Sequence[DryRunRecord], folder: Path) -> None:
    """Replace dry_run.csv and dry_run.json by the rounds so far."""
    rows = [record.flat() for record in records]
    write_text(folder / "dry_run.csv", csv_text(DryRunRecord.columns(), rows))
    write_text(folder / "dry_run.json", json.dumps(rows, indent=1) + "\n")


def round_line(record: DryRunRecord, sizes: bool = True) -> str:
    """Describe a round in one line when it ends; `sizes`: also what it costs on disk."""
    fixed = f"round {record.round + 1}: {100 * record.fraction:.1f} % fixed"
    cost = f" to {record.codebook_size:,} values, {record.size.entropy_mb:.2f} of {record.size.fp32_mb:.2f} MB"
    return f"{fixed}{cost if sizes else ''}, {record.cluster_seconds:.1f} s"


def _table(*headings: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="right" if number else "left", no_wrap=bool(number), overflow="fold")
    return table


def size_table(records: Sequence[DryRunRecord], per_tensor: bool) -> Table:
    """Return a table of what each round costs on disk, and of the orders of its centroids.

    `per_tensor`: each tensor has a codebook of its own.
    """
    with_orders = any(one.order_share for one in records)
    orders = ("order\n0 %", "\n1 %", "\n2 %", "\n3 %", "\n4 %") if with_orders else ()
    table = _table("round", "fixed\n%", "code\nbook", "entropy\nbits", "\nMB", "fixed width\nMB", *orders)
    for one in records:
        table.add_row(
            str(one.round + 1),
            f"{100 * one.fraction:.1f}",
            f"{one.codebook_size:,}",
            f"{one.tensor_entropy_bits if per_tensor else one.entropy_bits:.2f}",
            f"{one.size.entropy_mb:.2f}",
            f"{one.size.fixed_mb:.2f}",
            *(f"{100 * share:.1f}" for share in one.order_share or ()),
        )
    return table


def distance_table(records: Sequence[DryRunRecord], unit: str) -> Table:
    """Return a table of how far each round's weights are from where they started."""
    relative = ("moved by % of\nitself: mean", "\n99 %", "\nmax")
    table = _table("round", f"limit\n{unit}", *relative, f"in {unit}\nmean", "\n99 %", "\nmax", "\nsec")
    for one in records:
        spreads = [100 * value for value in (one.relative.mean, one.relative.p99, one.relative.largest)]
        spreads += [one.tolerances.mean, one.tolerances.p99, one.tolerances.largest]
        table.add_row(
            str(one.round + 1),
            f"{one.threshold:,.4g}",
            *(_number(value) for value in spreads),
            f"{one.cluster_seconds:.1f}",
        )
    return table


def layers_table(layers: Sequence[TensorMove], unit: str) -> Table:
    """Return a table of the most displaced tensors after the last round."""
    table = _table("most displaced layers", "weights", "L2\n%", "moved by\nmean %", f"in {unit}\nmean")
    for one in layers:
        table.add_row(
            one.name, f"{one.weights:,}", _number(100 * one.l2), _number(100 * one.relative), _number(one.tolerances)
        )
    return table


def _number(value: float) -> str:
    """Three digits, whatever the size."""
    return f"{value:,.0f}" if 1000 <= value < 1e7 else f"{value:.3g}"


def conclusion(last: DryRunRecord, weights: int, zeros: int, unit: str, per_tensor: bool) -> str:
    """Describe the outcome in words.

    Args:
        last: the record of the last round.
        weights: how many weights are quantized.
        zeros: how many of them start at exactly 0.
        unit: the unit of the tolerances.
        per_tensor: whether each tensor has a codebook of its own.
    """
    size, values = last.size, "values" if last.codebook_size > 1 else "value"
    bits = last.entropy_bits
    if per_tensor:
        values, bits = f"{values}, at most {last.tensor_values:,} in one tensor", last.tensor_entropy_bits
    lines = [
        f"{weights:,} weights on {last.codebook_size:,} {values}: entropy {bits:.2f} bits each, "
        f"{size.entropy_mb:.2f} MB at the entropy, {size.fixed_mb:.2f} MB at {size.index_bits} bits, instead of "
        f"{size.fp32_mb:.2f} MB ({size.fp32_mb / size.entropy_mb:.1f} and {size.fp32_mb / size.fixed_mb:.1f} times "
        "smaller).",
        f"The last weights could move {last.threshold:,.6g} {unit}. In the mean a weight moved by "
        f"{100 * last.relative.mean:.3g} % of itself, {last.tolerances.mean:.3g} of its starting {unit}.",
    ]
    if zeros:
        lines.append(f"{zeros:,} weights start at exactly 0: they have no share of themselves and are left out there.")
    return "\n".join(lines)
