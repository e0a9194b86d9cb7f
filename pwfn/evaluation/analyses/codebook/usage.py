"""Report which tensors use which entries of the codebook: a table, two CSV files and a heat map."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from rich.table import Table
from typing_extensions import override

from pwfn.evaluation.analyses.analysis import Analysis
from pwfn.evaluation.analyses.codebook.merging import Merge, Usage, cheapest_merge, usage
from pwfn.evaluation.analyses.codebook.prune import in_sigmas
from pwfn.evaluation.analyses.shift_add.cost import signed_digits
from pwfn.evaluation.measure import Measured, Setup
from pwfn.evaluation.subject import CLUSTERED
from pwfn.evaluation.tables import Section, new_table
from pwfn.monitoring.plots import INK, save
from pwfn.records.columns import csv_of
from pwfn.records.files import write_text

MOST_SHOWN = 12  # entries on the console; codebook.csv has all
NAMED = 60  # tensors whose names the heat map has room for


class CodebookUsage(Analysis):
    """Count the weights of each tensor at each entry, and price merges of neighbors."""

    @property
    @override
    def wanted(self) -> bool:
        return self.settings.codebook.show

    @override
    def run(self, setup: Setup, measured: Measured) -> Section:
        del measured  # entries are counted, no image is looked at
        sigmas, folder = in_sigmas(setup), setup.subject.folder
        used = usage(setup.network(CLUSTERED), in_sigmas=sigmas)
        merges = _merges_of_all(used)
        write_text(folder / "codebook.csv", _entries_csv(used, merges))
        rows = ([name, *counts] for name, counts in zip(used.layers, used.counts.tolist(), strict=True))
        write_text(folder / "codebook_layers.csv", csv_of(["tensor", *map(float, used.values)], rows))
        draw_codebook(used, folder / "codebook.png")
        below = self.settings.codebook.rare
        rare, each = used.totals < below, (used.counts > 0).sum(1)
        line = (
            f"{len(used.values)} entries, of which {rare.sum()} have fewer than {below} weights and hold "
            f"{int(used.totals[rare].sum()):,} weights together; a tensor uses {each.min()} to {each.max()} of them."
        )
        content = {
            "entries": len(used.values),
            "rare": int(rare.sum()),
            "entries_of_tensors": dict(zip(used.layers, each.tolist(), strict=True)),
        }
        return Section("codebook", content, (merges_table(used, merges, "sigmas" if sigmas else "weight units"), line))


def _merges_of_all(used: Usage) -> list[Merge]:
    """Price the merge of each entry into its nearer neighbor; an only entry has none."""
    values = used.values.astype(np.float64)
    places = range(len(values)) if len(values) > 1 else ()
    return [cheapest_merge(values, used.stiffness, used.totals, index) for index in places]


def _entries_csv(used: Usage, merges: list[Merge]) -> str:
    headings = ["value", "digits", "weights", "tensors", "into", "cost"]
    digits, tensors = signed_digits(used.values).tolist(), (used.counts > 0).sum(0).tolist()
    goals: list[tuple[Any, Any]] = [(merge.into, merge.cost) for merge in merges]
    goals = goals or [("", "")]  # the only entry has no neighbor
    rows = zip(map(float, used.values), digits, used.totals.tolist(), tensors, goals, strict=True)
    return csv_of(headings, ([*row, *goal] for *row, goal in rows))


def merges_table(used: Usage, merges: list[Merge], unit: str) -> Table:
    """Return a table of the entries that are cheapest to merge into a neighbor.

    Args:
        used: the entries and the weights at them.
        merges: the merge of each entry into its nearer neighbor, in the order of the entries.
        unit: the unit of the costs, for the heading.
    """
    shown = sorted(range(len(merges)), key=lambda index: merges[index].cost)[:MOST_SHOWN]
    title = f"cheapest merges ({len(shown)} of {len(merges)})"
    table = new_table("entry", "digits", "weights", "tensors", "into", f"cost\n{unit}", "a weight", left=0, title=title)
    digits = signed_digits(used.values)
    for index in shown:
        one = merges[index]
        table.add_row(
            f"{one.value:g}",
            str(digits[index]),
            f"{one.weights:,}",
            str(int((used.counts[:, index] > 0).sum())),
            f"{one.into:g}",
            f"{one.cost:,.4g}",
            f"{one.cost / one.weights:,.4g}",
        )
    return table


def draw_codebook(used: Usage, path: Path) -> None:
    """Draw which share of each tensor's weights is at each entry: rows are tensors, columns are entries."""
    named = len(used.layers) <= NAMED
    figure = Figure(figsize=(10, 1.6 + 0.16 * len(used.layers) if named else 9), dpi=150, layout="constrained")
    axes = figure.subplots()
    shares = used.counts / used.counts.sum(1, keepdims=True)
    image = axes.imshow(
        np.ma.masked_equal(100 * shares, 0),
        aspect="auto",
        interpolation="nearest",
        cmap="viridis",
        norm=LogNorm(vmin=max(1e-4, 100 * shares[shares > 0].min()), vmax=100),
    )
    if named:
        axes.set_yticks(range(len(used.layers)), [name[-32:] for name in used.layers], fontsize=7)
    step = max(1, -(-len(used.values) // 24))
    ticks = range(0, len(used.values), step)
    axes.set_xticks(ticks, [f"{used.values[tick]:g}" for tick in ticks], rotation=90, fontsize=7)
    axes.set_title(
        "Share of each tensor's weights at each entry of the codebook, %", loc="left", fontsize=11, color=INK
    )
    axes.tick_params(length=0, colors=INK)
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(image, ax=axes, pad=0.01)
    bar.ax.tick_params(labelsize=8, colors=INK)
    bar.outline.set_visible(False)
    save(figure, path)
