"""The use of the codebook for the console, as codebook.csv and codebook_layers.csv, and as a heat map."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from rich.table import Table

from pwfn.evaluation.analyses.codebook_merging import Merge, Usage, cheapest_merge, usage
from pwfn.evaluation.analyses.prune_codebook import in_sigmas
from pwfn.evaluation.analyses.shift_add_cost import signed_digits
from pwfn.evaluation.measure import Setup
from pwfn.evaluation.subject import CLUSTERED
from pwfn.evaluation.tables import Section, plain_table
from pwfn.monitoring.plots import INK, save
from pwfn.records.files import write_text

MOST_SHOWN = 12  # entries on the console; codebook.csv has all
NAMED = 60  # tensors whose names the heat map has room for


def codebook_section(setup: Setup) -> Section:
    """Count, draw and write, for the clustered network."""
    network = setup.network(CLUSTERED)
    sigmas = in_sigmas(setup)
    used = usage(network, in_sigmas=sigmas)
    values = used.values.astype(np.float64)
    merges = (
        [cheapest_merge(values, used.stiffness, used.totals, index) for index in range(len(values))]
        if len(values) > 1
        else []
    )
    folder = setup.subject.folder
    write_text(folder / "codebook.csv", _entries_csv(used, merges))
    rows = ([name, *counts] for name, counts in zip(used.layers, used.counts.tolist(), strict=True))
    write_text(folder / "codebook_layers.csv", _csv(["tensor", *map(float, used.values)], rows))
    draw_codebook(used, folder / "codebook.png")
    rare = int((used.totals < setup.settings.codebook.rare).sum())
    each = (used.counts > 0).sum(1)
    line = (
        f"{len(values)} entries, of which {rare} have fewer than {setup.settings.codebook.rare} weights and hold "
        f"{int(used.totals[used.totals < setup.settings.codebook.rare].sum()):,} weights together; a tensor uses "
        f"{each.min()} to {each.max()} of them."
    )
    content = {
        "entries": len(values),
        "rare": rare,
        "entries_of_tensors": dict(zip(used.layers, each.tolist(), strict=True)),
    }
    return Section("codebook", content, (merges_table(used, merges, "sigmas" if sigmas else "weight units"), line))


def _entries_csv(used: Usage, merges: list[Merge]) -> str:
    headings = ["value", "digits", "weights", "tensors", "into", "cost"]
    digits, tensors = signed_digits(used.values).tolist(), (used.counts > 0).sum(0).tolist()
    goals: list[tuple[Any, Any]] = [(merge.into, merge.cost) for merge in merges]
    goals = goals or [("", "")]  # the only entry has no neighbor
    rows = zip(map(float, used.values), digits, used.totals.tolist(), tensors, goals, strict=True)
    return _csv(headings, ([*row, *goal] for *row, goal in rows))


def _csv(headings: list[Any], rows: Iterable[Iterable[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(headings)
    writer.writerows(rows)
    return text.getvalue()


def merges_table(used: Usage, merges: list[Merge], unit: str) -> Table:
    """The entries that are cheapest to merge into a neighbor."""
    shown = sorted(range(len(merges)), key=lambda index: merges[index].cost)[:MOST_SHOWN]
    title = f"cheapest merges ({len(shown)} of {len(merges)})"
    table = plain_table(
        "entry", "digits", "weights", "tensors", "into", f"cost\n{unit}", "a weight", left=0, title=title
    )
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
    """How many weights of each tensor are at each entry: rows are tensors in the order of the network, columns entries."""
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
