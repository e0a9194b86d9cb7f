"""Report what one image costs in shifts and adds: a table, bill.csv and a picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from rich.table import Table
from typing_extensions import override

from pwfn.evaluation.analyses.analysis import Analysis
from pwfn.evaluation.analyses.shift_add.cost import Cost, Layer, OperationCounts, count_operations
from pwfn.evaluation.measure import Measured, Setup
from pwfn.evaluation.subject import CLUSTERED
from pwfn.evaluation.tables import Section, new_table
from pwfn.monitoring.plots import INK, save, tidy
from pwfn.records.columns import csv_of
from pwfn.records.files import write_text

MOST_LAYERS = 12  # that the console shows; bill.csv has all
NAMED = 60  # layers whose names a picture has room for
KINDS = {
    "skipped": ("zero: skipped", "#E3E3E3"),
    "one": ("1 shift", "#56B4E9"),
    "two": ("2 shifts, 1 add", "#0072B2"),
    "three": ("3 shifts, 2 adds", "#E69F00"),
    "four": ("4 shifts, 3 adds", "#D55E00"),
    "left": ("multiplications", "#333333"),
}


class ShiftAddCost(Analysis):
    """Count for the clustered network what one image costs in shifts and adds, layer by layer."""

    @property
    @override
    def wanted(self) -> bool:
        return self.settings.bill

    @override
    def run(self, setup: Setup, measured: Measured) -> Section:
        del measured  # one image of zeros is enough to count
        size, subject = setup.subject.data.config["input_size"], setup.subject
        counted = count_operations(setup.network(CLUSTERED), torch.zeros(1, *size, device=setup.on.device))
        write_text(subject.folder / "bill.csv", bill_csv(counted))
        draw_bill(counted, subject.folder / "bill.png")
        if counted.uncounted:
            names = ", ".join(counted.uncounted[:4]) + (" ..." if len(counted.uncounted) > 4 else "")
            subject.notes.append(f"Not in the bill, for no layer that can be counted multiplies by them: {names}.")
        content = {"total": counted.total.flat(), "uncounted": counted.uncounted}
        return Section("bill", content, (bill_table(counted), bill_sentence(counted.total)))


def bill_csv(counted: OperationCounts) -> str:
    """Return the text of bill.csv: a row for each layer, and one for all."""
    everything = Layer("total", sum(layer.weights for layer in counted.layers), 0, counted.total)
    layers = (*counted.layers, everything)
    rows = ([layer.name, layer.weights, layer.uses or "", *layer.cost.flat().values()] for layer in layers)
    return csv_of(["layer", "weights", "uses", *counted.total.flat()], rows)


def bill_table(counted: OperationCounts) -> Table:
    """Return a table of the most expensive layers, and of all of them together."""
    title = "shift-add bill of one image"
    shown = sorted(counted.layers, key=lambda layer: -layer.cost.macs)[:MOST_LAYERS]
    if len(shown) < len(counted.layers):
        title += f" ({len(shown)} largest of {len(counted.layers)} layers)"
    shares = ("zero\n%", "1 shift\n%", "2\n%", "3, 4\n%", "mult.\n%")
    table = new_table("layer", "mult.\n10³", *shares, "float\nkbit", "entropy\nkbit", title=title)
    for name, cost in (*((layer.name[-24:], layer.cost) for layer in shown), ("total", counted.total)):
        kinds = (cost.skipped, cost.one, cost.two, cost.three + cost.four, cost.left)
        table.add_row(
            name,
            f"{cost.macs / 1e3:,.1f}",
            *(f"{100 * kind / max(cost.macs, 1):.1f}" for kind in kinds),
            f"{cost.bits_float32 / 1e3:,.0f}",
            f"{cost.bits_entropy / 1e3:,.0f}",
        )
    return table


def bill_sentence(total: Cost) -> str:
    """Say what one image costs."""
    left = f", {total.left:,} multiplications stay" if total.left else ""
    return (
        f"One image: instead of {total.macs:,} multiplications by weights {total.shifts:,} shifts and {total.adds:,} "
        f"adds ({total.skipped:,} skipped{left}), and {total.accumulations:,} accumulations instead of {total.macs:,}. "
        f"The weights are {total.bits_float32 / 1e6:.2f} Mbit as float32, {total.bits_index / 1e6:.2f} as indices, "
        f"{total.bits_entropy / 1e6:.2f} at their entropy."
    )


def draw_bill(counted: OperationCounts, path: Path) -> None:
    """Draw what replaces the multiplications of each layer, in the order of the network, as a PNG."""
    layers = [layer for layer in counted.layers if layer.cost.macs]
    named = len(layers) <= NAMED
    figure = Figure(figsize=(10, 5), dpi=150, layout="constrained")
    axes = figure.subplots()
    bottom = np.zeros(len(layers))
    for kind, (label, color) in KINDS.items():
        height = np.array([getattr(layer.cost, kind) for layer in layers]) / 1e6
        share = 100 * getattr(counted.total, kind) / max(counted.total.macs, 1)
        if share:
            axes.bar(
                range(len(layers)), height, bottom=bottom, width=0.85, color=color, label=f"{label}, {share:.1f} %"
            )
        bottom += height
    if named:
        axes.set_xticks(range(len(layers)), [layer.name[-26:] for layer in layers], rotation=90)
        axes.tick_params(axis="x", labelsize=7)
    else:
        axes.set_xlabel("layer")
    axes.set_xlim(-0.7, len(layers) - 0.3)
    axes.set_title("Multiplications by weights for one image, millions", loc="left", fontsize=11, color=INK)
    axes.set_ylim(0, 1.35 * bottom.max())
    tidy(axes)
    axes.legend(frameon=False, loc="upper left", ncols=3, fontsize=9)
    save(figure, path)
