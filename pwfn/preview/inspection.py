"""List which parameters of a model would be quantized, before anything is trained (`inspect=true`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from torch import nn

from pwfn.bayesian.coverage import Coverage, coverage
from pwfn.checkpoint import saved_config
from pwfn.models.input_size import size_fault
from pwfn.models.meta_build import build_without_weights
from pwfn.models.model_names import source_of
from pwfn.models.random_weights import new_head
from pwfn.monitoring.console import show
from pwfn.records.columns import Column, by_key, csv_text
from pwfn.records.files import write_text
from pwfn.records.rounds import write_result
from pwfn.run.settings import TrainSettings

COVERAGE_COLUMNS = by_key(
    Column("name", "the parameter, as in the model's own state dict", "text", str),
    Column("size", "its elements", "parameters", int),
    Column("quantised", "1 if it shares the codebook, 0 if it stays in floating point", "flag", int),
    Column("what", "the kind of a quantized parameter, or why another one is left out", "text", str),
)
LARGEST = 5  # tensors that are listed by name, of those that are quantized and of those that are not
NAMED = 4  # tied parameters and normalizing modules that are listed by name
WARNING = "bold yellow"


def inspect(settings: TrainSettings, config: dict[str, Any], folder: Path, console: Console | None = None) -> Coverage:
    """Print the coverage report of a model and write it to `folder`.

    No images are looked for, and no weights but those of a file or folder, to see whether they fit.

    Args:
        settings: the settings of the run that is asked about.
        config: the resolved configuration that they were built from; it is saved in the folder.
        folder: where the configuration, coverage.csv and the result are written.
        console: where the report is printed; the standard output by default.

    Returns:
        Which parameters are quantized, and which are not.

    Raises:
        ModelError: the model cannot be built, its weights do not fit, or a pattern of model.quantize matches nothing.
    """
    console = console or Console()
    data = settings.data
    network, no_meta = build_without_weights(settings.model, num_classes=data.classes_if_known, in_chans=data.channels)
    remarks = _loaded(settings)
    cover = coverage(network)
    saved_config.write_config(folder, config)
    show_coverage(cover, headline(settings, network), console)
    if no_meta is not None:
        show(console, f"Built with real tensors, as it cannot be built without: {no_meta}")
    for remark in remarks:
        show(console, remark)
    if fault := size_fault(settings.model, settings.data):
        show(console, f"warning: a run will be refused: {fault}", WARNING)
    show(console, f"Every parameter: {write_coverage(cover, folder)}")
    figures = {"parameters": cover.total, "covered": cover.covered, "covered_percent": 100 * cover.share}
    write_result(folder, 100 * cover.share, figures)
    return cover


def _loaded(settings: TrainSettings) -> list[str]:
    """Load weights that are on this machine already, so that what is wrong with them is found here."""
    model, data = settings.model, settings.data
    if model.checkpoint is None and source_of(model.name) != "local-dir":
        return []
    remarks: list[str] = []
    network = model.build(num_classes=data.classes_if_known, in_chans=data.channels, say=remarks.append)
    head = (
        new_head(model, network)
        or f"{model.name}: all weights are in {model.weights_from}, for {network.num_classes} classes"
    )
    return [*remarks, head]


def headline(settings: TrainSettings, network: nn.Module) -> str:
    """Describe what is reported on: the model, and where its number of classes comes from."""
    data, known = type(settings.data).__name__, settings.data.classes_if_known
    classes = known if known is not None else getattr(network, "num_classes", None)
    source = f"those of {data}" if known is not None else f"the model's own: {data} finds no folder to count in"
    return f"{settings.model.name} with {classes} classes ({source}), input channels {settings.data.channels}"


def write_coverage(cover: Coverage, folder: Path) -> Path:
    """Write coverage.csv, a row for every parameter, and return its path."""
    path = folder / "coverage.csv"
    write_text(path, csv_text(COVERAGE_COLUMNS, coverage_rows(cover)))
    return path


def show_coverage(cover: Coverage, title: str, console: Console) -> None:
    """Print the whole report: sums, largest tensors, ties, normalizing layers, warnings.

    Args:
        cover: of a Bayesian network.
        title: the first line.
        console: where.
    """
    show(console, title, "bold")
    for table in (sums_table(cover), largest_table(cover)):
        show(console, "")
        show(console, table)
    show(console, "")
    show(console, _listed("tied parameters, counted once", cover.tied))
    show(console, _listed("modules that normalize their weight in forward", cover.normalized))
    for line in cover.warnings():
        show(console, f"warning: {line}", WARNING)


def sums_table(cover: Coverage) -> Table:
    """Sum up the parameters by kind: what shares the codebook, what does not and why."""
    table = _table("parameters", "tensors", "size", "share %")
    groups = (
        ("share the codebook", cover.covered_by_kind()),
        ("stay in floating point", cover.left_out_by_reason()),
    )
    for label, kinds in groups:
        size = sum(size for _, _, size in kinds)
        tensors = sum(tensors for _, tensors, _ in kinds)
        table.add_row(label, f"{tensors:,}", f"{size:,}", _percent(size, cover.total), style="bold")
        for kind, tensors, size in kinds:
            table.add_row(f"  {kind}", f"{tensors:,}", f"{size:,}", _percent(size, cover.total))
    every = len(cover.quantized) + len(cover.uncovered)
    table.add_row("all", f"{every:,}", f"{cover.total:,}", _percent(cover.total, cover.total), style="bold")
    return table


def largest_table(cover: Coverage) -> Table:
    """List the largest tensors by name, those of the codebook first."""
    table = _table("largest tensors", "size", "share %")
    covered = sorted(cover.quantized.items(), key=lambda item: -item[1])
    left_out = sorted(((one.name, one.size) for one in cover.uncovered), key=lambda item: -item[1])
    for label, tensors in (("share the codebook", covered), ("stay in floating point", left_out)):
        if tensors:
            table.add_row(label, style="bold")
        for name, size in tensors[:LARGEST]:
            table.add_row(f"  {name}", f"{size:,}", _percent(size, cover.total))
    return table


def _table(first: str, *others: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold")
    table.add_column(first, overflow="fold")
    for heading in others:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _percent(size: int, total: int) -> str:
    return f"{100 * size / total:.2f}"


def _listed(what: str, names: list[str]) -> str:
    shown = ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
    return f"{what}: {len(names)} ({shown})" if names else f"{what}: none"


def coverage_rows(cover: Coverage) -> list[dict[str, int | str]]:
    """Return a row of coverage.csv for every parameter; the keys are those of `COVERAGE_COLUMNS`."""
    quantized = [(name, size, 1, cover.kinds[name]) for name, size in cover.quantized.items()]
    left_out = [(one.name, one.size, 0, one.reason) for one in cover.uncovered]
    return [dict(zip(COVERAGE_COLUMNS, row, strict=True)) for row in [*quantized, *left_out]]
