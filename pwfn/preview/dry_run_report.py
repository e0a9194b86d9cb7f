"""Print and write what a dry run finds (`dry_run=true`)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
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
from pwfn.preview.dry_run_tables import conclusion, distance_table, layers_table, round_line, size_table
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
    """Cluster a network through all rounds without training; print the figures and write them to `folder`.

    Args:
        settings: the settings of the run that is asked about.
        config: the resolved configuration that they were built from; it is saved in the folder.
        folder: where the configuration, coverage.csv, dry_run.csv and .json, layers.csv and result.json are written.
        console: where the figures are printed; the standard output by default.

    Returns:
        A record for each round.

    Raises:
        RunError: the model cannot be built, or images or sigmas that are needed are not there.
    """
    console = console or Console()
    seed_run(settings.seed)
    data, remarks = settings.data, list[str]()
    network = build_bayesian(
        settings.model, num_classes=data.classes_if_known, in_chans=data.channels, say=remarks.append
    )
    alarms = _alarms(settings, network)
    saved_config.write_config(folder, config)
    _report_network(settings, network, folder, console, alarms, remarks)
    images = _images(settings, network)
    set_starting_sigmas(network, settings, images, partial(show, console))
    run = DryRun(network, settings, *_looked_at(settings, network, images))
    sizes = not settings.model.random_weights  # of random numbers they mean nothing
    records = _rounds(run, folder, None if settings.quiet else console, sizes)
    layers = run.layers()
    _write_result(folder, records[-1], layers)
    if sizes:
        _show_result(console, run, records, layers, settings.tolerance.label)
    _show_end(console, folder, records[-1], alarms)
    return records


def _report_network(
    settings: TrainSettings,
    network: nn.Module,
    folder: Path,
    console: Console,
    alarms: Sequence[Alarm],
    remarks: Sequence[str],
) -> None:
    """Write the network's coverage, and show it below alarms and remarks, unless the run is quiet."""
    cover = coverage(network)
    write_coverage(cover, folder)
    if settings.quiet:
        return
    for alarm in alarms:
        show(console, alarm.text, ALARM)
    for remark in remarks:
        show(console, remark)
    show_coverage(cover, headline(settings, network), console)


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


def _write_result(folder: Path, last: DryRunRecord, layers: Sequence[TensorMove]) -> None:
    write_text(folder / "layers.csv", csv_text(LAYER_COLUMNS, map(asdict, layers)))
    figures = last.flat()
    write_result(folder, last.size.entropy_mb, {key: figures[key] for key in FIGURES})


def _show_end(console: Console, folder: Path, last: DryRunRecord, alarms: list[Alarm]) -> None:
    """Name the files, repeat the alarms, and give the verdict."""
    names = sorted(path.name for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    show(console, f"Files in {folder}: {', '.join(names)}")
    for alarm in alarms:
        show(console, alarm.text, ALARM)
    show(console, verdict(last.size, alarms))


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
