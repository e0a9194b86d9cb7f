"""Draw calibration, selective prediction and confusions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pwfn.evaluation.measure import SAMPLE, Measured, Row
from pwfn.evaluation.metrics import bin_of, confusion, risk_coverage
from pwfn.monitoring.plots import BLUE, GRAY, GREEN, INK, ORANGE, save, tidy

COLORS = {"pretrained": GRAY, "trained": BLUE, "clustered": ORANGE}
SETTLED = 0.1  # from this coverage on, the whole curve of risk is in the picture
MOST_NAMED = 30  # classes whose names and counts a confusion matrix has room for


def draw_reliability(measured: Measured, bins: int, path: Path) -> None:
    """Draw a reliability diagram for each network, at the mean and as an ensemble, as a PNG.

    Args:
        measured: The rows of an evaluation; those of single samples are not drawn.
        bins: Intervals of confidence, of equal width.
        path: The file to write.
    """
    rows = [row for row in measured.rows if row.mode != SAMPLE]
    figure = Figure(figsize=(2.6 * len(rows) + 0.8, 4.4), dpi=150, layout="constrained")
    grid = figure.subplots(2, len(rows), sharex=True, sharey="row", height_ratios=(3, 1), squeeze=False)
    for column, row in enumerate(rows):
        _reliability(grid[0, column], grid[1, column], row, bins)
    grid[0, 0].set_ylabel("right, %", color=INK)
    grid[1, 0].set_ylabel("images, %", color=INK)
    figure.supxlabel("confidence, %", fontsize=10, color=INK)
    save(figure, path)


def _reliability(top: Axes, bottom: Axes, row: Row, bins: int) -> None:
    one = row.answers
    place = bin_of(one.confidence, bins)
    count = np.bincount(place, minlength=bins)
    used = count > 0
    right, sure = (
        100 * np.bincount(place, weights=x, minlength=bins)[used] / count[used] for x in (one.hit1, one.confidence)
    )
    left, width = 100 * np.arange(bins)[used] / bins, 100 / bins
    top.bar(left, right, width, align="edge", color=COLORS.get(row.network, GREEN), alpha=0.75, edgecolor="white")
    top.plot(sure, right, ".", color=INK, markersize=5)
    top.plot([0, 100], [0, 100], color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
    bottom.bar(left, 100 * count[used] / len(one), width, align="edge", color=GRAY, edgecolor="white")
    top.set_title(f"{row.network}, {row.mode}\nECE {row.figures['ece']:.2f} %", loc="left", fontsize=10, color=INK)
    top.set(xlim=(0, 100), ylim=(0, 100), xticks=(0, 50, 100))
    for axes in (top, bottom):
        tidy(axes)


def draw_risk_coverage(measured: Measured, path: Path) -> None:
    """Draw the share of errors among the images a network is surest of, as a PNG.

    The axis is how many images these are.
    """
    figure = Figure(figsize=(8, 4.5), dpi=150, layout="constrained")
    axes = figure.subplots()
    highest = 0.0
    for row in measured.rows:
        if row.mode == SAMPLE:
            continue
        coverage, risk = risk_coverage(row.answers)
        highest = max(highest, risk[coverage >= SETTLED].max())  # an error among the first few would fill the picture
        axes.step(
            100 * coverage,
            100 * risk,
            where="post",
            color=COLORS.get(row.network, GREEN),
            linestyle="-" if row.answers.member_top1 is None else (0, (4, 2)),
            linewidth=1.6,
            label=f"{row.network}, {row.mode} (area {100 * (row.figures['aurc'] or 0):.3f} %)",
        )
    axes.set_title("Errors among the images answered, %", loc="left", fontsize=11, color=INK)
    axes.set_xlabel("images answered, the surest first, %")
    axes.set_xlim(0, 100)
    axes.set_ylim(0, max(1.0, 115 * highest))
    tidy(axes)
    axes.legend(frameon=False, loc="upper left", fontsize=9)
    save(figure, path)


def draw_confusion(row: Row, names: Sequence[str], path: Path) -> None:
    """Draw how often each class was taken for each other, in percent of its images, as a PNG.

    Args:
        row: The answers of one network.
        names: A name for each class, in the order of the labels.
        path: The file to write.
    """
    table = confusion(row.answers, len(names))
    share = 100 * table / np.maximum(table.sum(1, keepdims=True), 1)
    named = len(names) <= MOST_NAMED
    side = 1.8 + 0.42 * len(names) if named else 7.0
    figure = Figure(figsize=(side + 0.9, side), dpi=150, layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(share, cmap="Blues", vmin=0, vmax=100, interpolation="nearest")
    if named:
        axes.set_xticks(range(len(names)), [_short(name) for name in names], rotation=90 if _long(names) else 0)
        axes.set_yticks(range(len(names)), [_short(name) for name in names])
        for (i, j), count in np.ndenumerate(table):
            if count:
                axes.text(
                    j, i, str(count), ha="center", va="center", fontsize=7, color="white" if share[i, j] > 55 else INK
                )
    axes.set_title(f"{row.network}, {row.mode}: images by class and answer", loc="left", fontsize=10, color=INK)
    axes.set_xlabel("answer")
    axes.set_ylabel("class")
    axes.tick_params(colors=INK, length=0, labelsize=8)
    bar = figure.colorbar(image, ax=axes, shrink=0.8)
    bar.set_label("% of the class", color=INK)
    bar.outline.set_visible(False)
    axes.spines[:].set_visible(False)
    save(figure, path)


def _short(name: str) -> str:
    return name if len(name) <= 14 else name[:13] + "…"


def _long(names: Sequence[str]) -> bool:
    return max(map(len, names)) > 3
