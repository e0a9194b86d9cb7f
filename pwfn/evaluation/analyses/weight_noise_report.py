"""What the noise on weights did to accuracy: a table, noise.csv, and a picture of one panel for each unit."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from rich.table import Table

from pwfn.evaluation.analyses.weight_noise import NoisePoint, by_level, noise_curves
from pwfn.evaluation.measure import Setup
from pwfn.evaluation.plots import COLOURS
from pwfn.evaluation.tables import Section, plain_table
from pwfn.monitoring.plots import INK, save, tidy
from pwfn.records.files import write_text

UNITS = {"absolute": "weight units", "relative": "shares of the weight", "sigma": "learned sigmas"}
OTHERS = ("#007A5A", "#CC79A7", "#56B4E9", "#E69F00")  # for runs given for comparison


def noise_section(setup: Setup, at_mean: dict[str, float]) -> Section:
    """Measure, draw and write; `at_mean` is the top1 (percent) of the subject's networks without noise."""
    points = noise_curves(setup)
    rows = [(p.network, p.kind, p.level, number, s) for p in points for number, s in enumerate(p.draws)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["network", "unit", "level", "draw", "top1", "top5", "loss"])
    writer.writerows([*row, s.top1, s.top5, s.loss] for *row, s in rows)
    write_text(setup.subject.folder / "noise.csv", text.getvalue())
    draw_noise(points, at_mean, setup.subject.folder / "noise.png")
    content = [
        {"network": p.network, "unit": p.kind, "level": p.level, "top1": p.top1, "half_width": p.half_width}
        for p in points
    ]
    return Section("noise", content, (noise_table(points),))


def noise_table(points: Sequence[NoisePoint]) -> Table:
    """A row for each level, a column for each network."""
    names = list(dict.fromkeys(point.network for point in points))
    title = f"top1 % under weight noise: mean of {len(points[0].draws)}, 95 % band"
    table = plain_table("unit", "level", *(_short(name) for name in names), title=title)
    last = ""
    for (kind, level), here in by_level(points).items():
        cells = {point.network: f"{point.top1:.2f} ± {point.half_width:.2f}" for point in here}
        table.add_row(UNITS[kind] if kind != last else "", f"{level:g}", *(cells.get(name, "") for name in names))
        last = kind
    return table


def draw_noise(points: Sequence[NoisePoint], at_mean: dict[str, float], path: Path) -> None:
    """One panel for each unit of noise; the dotted lines are accuracies without noise."""
    kinds = list(dict.fromkeys(point.kind for point in points))
    names = list(dict.fromkeys(point.network for point in points))
    others = dict(zip((name for name in names if name not in COLOURS), OTHERS * len(names), strict=False))
    figure = Figure(figsize=(3.4 * len(kinds) + 0.6, 4.4), dpi=150, layout="constrained")
    panels = figure.subplots(1, len(kinds), sharey=True, squeeze=False)[0]
    for axes, kind in zip(panels, kinds, strict=True):
        for name in names:
            here = [point for point in points if (point.network, point.kind) == (name, kind)]
            color = {**COLOURS, **others}[name]
            level = [point.level for point in here]
            top1, half = np.array([point.top1 for point in here]), np.array([point.half_width for point in here])
            axes.fill_between(level, top1 - half, np.minimum(top1 + half, 100), color=color, alpha=0.2, linewidth=0)
            axes.plot(level, top1, color=color, marker="o", markersize=4, linewidth=1.6, label=_short(name))
            if name in at_mean:
                axes.axhline(at_mean[name], color=color, linewidth=0.9, linestyle=(0, (1, 2)))
        axes.set_xscale("log")
        shown = sorted({point.level for point in points if point.kind == kind})
        axes.xaxis.set_major_locator(FixedLocator(shown))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.set_title(f"noise in {UNITS[kind]}", loc="left", fontsize=10, color=INK)
        tidy(axes)
    panels[0].set_ylabel("top-1 accuracy, %", color=INK)
    panels[0].set_ylim(bottom=0)
    panels[0].legend(frameon=False, loc="lower left", fontsize=9)
    figure.supxlabel("standard deviation of the noise", fontsize=10, color=INK)
    save(figure, path)


def _short(name: str) -> str:
    """The end of a long path, which tells one run from another."""
    return name if len(name) <= 20 else "…" + name[-19:]
