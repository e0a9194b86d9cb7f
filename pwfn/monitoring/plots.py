"""Draw the pictures of a run and of a round; no function touches matplotlib's global state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from numpy.typing import NDArray

from pwfn.records.files import replacing
from pwfn.records.rounds import RoundRecord, Scores, is_finishing
from pwfn.records.weight_histogram import WeightHistogram, as_fraction, ticks

# From the palette of Okabe and Ito, which color-blind readers can tell apart.
BLUE, ORANGE, GREEN, GRAY, INK = "#0072B2", "#D55E00", "#007A5A", "#8A8A8A", "#333333"
ORDER_COLORS = (
    INK,
    BLUE,
    ORANGE,
    GREEN,
    "#AA4499",
    BLUE,
)  # of the sums of none to four powers of two, of other values


def draw_rounds(records: Sequence[RoundRecord], baseline: Scores, path: Path) -> None:
    """Draw accuracy and bits per weight over the share of fixed weights.

    Args:
        records: of all rounds.
        baseline: scores of the pretrained network.
        path: the file: a PNG of 1200 x 900 pixels.
    """
    save(rounds_figure(records, baseline), path)


def draw_weights(spread: WeightHistogram, path: Path) -> None:
    """Draw the weights' histogram before, and a stem for each value after, as a PNG of 1200 x 675 pixels."""
    save(weights_figure(spread), path)


def rounds_figure(records: Sequence[RoundRecord], baseline: Scores) -> Figure:
    """Plot accuracy and bits per weight over the share of fixed weights."""
    figure = Figure(figsize=(8, 6), dpi=150, layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    ends = list(records[-1:]) if is_finishing(records) else []  # a mark beside the lines: nothing was clustered there
    records = records[: len(records) - len(ends)]
    fixed = [100 * one.fraction for one in records]
    trained, clustered = [one.trained.top1 for one in records], [one.clustered.top1 for one in records]
    bits = [one.entropy_bits for one in records]
    top.axhline(baseline.top1, color=GRAY, linestyle=(0, (5, 3)), linewidth=1.5, label="pretrained")
    top.plot(fixed, trained, color=BLUE, marker="o", markersize=5, linewidth=1.8, label="trained")
    top.plot(fixed, clustered, color=ORANGE, marker="s", markersize=5, linewidth=1.8, label="clustered")
    bottom.plot(fixed, bits, color=GREEN, marker="o", markersize=5, linewidth=1.8, label="entropy")
    top.set_title("Top-1 accuracy on the test split, %", loc="left", fontsize=11, color=INK)
    bottom.set_title("Entropy of the weights, bits per weight", loc="left", fontsize=11, color=INK)
    bottom.set_xlabel("weights fixed, %")
    bottom.set_ylim(bottom=0, top=max(bits, default=1.0) * 1.12)
    for axes in (top, bottom):
        tidy(axes)
    top.set_xlim(min([*fixed, 100.0]) - 4, 103)
    finished = [one.clustered.top1 for one in ends]
    if finished:
        top.plot([100.0], finished, color=INK, marker="*", markersize=11, linestyle="none", label="finished")
    accuracies = [baseline.top1, *trained, *clustered, *finished]
    # At least one point of accuracy high: less would blow the noise of the test split up to a result.
    margin = max(0.12 * (max(accuracies) - min(accuracies)), (1 - (max(accuracies) - min(accuracies))) / 2)
    top.set_ylim(min(accuracies) - margin, max(accuracies) + margin)
    if records:
        names = ("trained", "clustered", "pretrained", "finished")
        heights = (trained[-1], clustered[-1], baseline.top1, *finished)
        labels = [f"{name} {height:.2f}" for name, height in zip(names, heights, strict=False)]  # few are finished
        _label_ends(top, heights, labels, (BLUE, ORANGE, "#666666", INK))
        final = f"{bits[-1]:.2f} bits,\n{records[-1].unique_weights:,} values"
        _label_ends(bottom, (bits[-1],), (final,), (GREEN,))
    return figure


def _apart(heights: Sequence[float], gap: float) -> list[float]:
    """Move the sorted `heights` to the nearest places `gap` or more apart; what collides moves as one."""
    piles: list[list[float]] = []
    for height in heights:
        piles.append([height])
        while len(piles) > 1 and _place(piles[-1], gap)[0] - _place(piles[-2], gap)[-1] < gap:
            above = piles.pop()
            piles[-1] += above
    return [place for pile in piles for place in _place(pile, gap)]


def _place(pile: list[float], gap: float) -> list[float]:
    middle = sum(pile) / len(pile)
    return [middle + (i - (len(pile) - 1) / 2) * gap for i in range(len(pile))]


def _label_ends(axes: Axes, heights: Sequence[float], labels: Sequence[str], colors: Sequence[str]) -> None:
    """Write each label right of its line's end, in the line's color, where it covers no other."""
    low, high = axes.get_ylim()
    order = sorted(range(len(heights)), key=lambda i: heights[i])
    places = _apart([heights[i] for i in order], 0.075 * (high - low))
    for place, i in zip(places, order, strict=True):
        axes.annotate(
            labels[i],
            xy=(1.015, place),
            xycoords=axes.get_yaxis_transform(),
            color=colors[i],
            fontsize=10,
            va="center",
            annotation_clip=False,
        )


def weights_figure(spread: WeightHistogram) -> Figure:
    """Plot the histogram of the weights before, and a stem as high as the weights of each value after."""
    figure = Figure(figsize=(8, 4.5), dpi=150, layout="constrained")
    axes = figure.subplots()
    asinh_axis(axes, spread.width, spread.reach)
    axes.set_yscale("log")
    label = f"before: {spread.weights:,} weights"
    axes.stairs(spread.before, spread.edges, baseline=0.5, fill=True, color="#9CC9E6", label=label)
    cut = f", the {len(spread.values)} most frequent shown" if spread.distinct > len(spread.values) else ""
    shown = f"after: {spread.distinct:,} values{cut}"
    thin = spread.distinct > 128
    axes.vlines(spread.values, 0.5, spread.counts, color=ORANGE, linewidth=0.7 if thin else 1.1, label=shown)
    axes.plot(spread.values, spread.counts, ".", color=ORANGE, markersize=2.5 if thin else 4.5)
    axes.set_ylim(0.5, max(*spread.before, *spread.counts) * 6)  # headroom for the legend
    axes.set_title("Number of weights, per bin before and per value after", loc="left", fontsize=11, color=INK)
    axes.set_xlabel("weight (linear near zero, logarithmic further out)")
    tidy(axes)
    axes.legend(frameon=False, loc="upper left", ncols=2, fontsize=10, handlelength=1.2, borderaxespad=0.2)
    return figure


def codebook_figure(clusters: Sequence[Mapping[str, Any]]) -> Figure:
    """Plot a stem for each value, as high as its number of weights; `clusters` are rows of clusters.csv."""
    figure = Figure(figsize=(8, 4.5), dpi=100, layout="constrained")
    axes = figure.subplots()
    sizes = sorted(abs(float(row["value"])) for row in clusters if row["value"]) or [1.0]
    asinh_axis(axes, sizes[len(sizes) // 4], 1.08 * sizes[-1])
    axes.set_yscale("log")
    names = {0: "zero", 1: "one power of two", 2: "two", 3: "three", 4: "four", None: "values"}
    for (order, name), color, marker in zip(names.items(), ORDER_COLORS, "osD^vo", strict=True):
        chosen = [row for row in clusters if row["order"] == order]
        if chosen:
            values, counts = [float(row["value"]) for row in chosen], [int(row["count"]) for row in chosen]
            axes.vlines(values, 0.5, counts, color=color, linewidth=1.2)
            axes.plot(values, counts, marker, color=color, markersize=4.5, label=f"{name}: {len(chosen)}")
    most = max((int(row["count"]) for row in clusters), default=1)
    axes.set_ylim(0.5, most * 8)  # headroom for the legend
    axes.set_title(f"Number of weights per value, {len(clusters)} values", loc="left", fontsize=11, color=INK)
    axes.set_xlabel("value (linear near zero, logarithmic further out)")
    tidy(axes)
    if clusters:
        axes.legend(frameon=False, loc="upper center", ncols=5, fontsize=9, handletextpad=0.3, columnspacing=1.2)
    return figure


def asinh_axis(axes: Axes, width: float, reach: float) -> None:
    """Scale an x axis linearly up to about `width` and logarithmically beyond; ticks at powers of two.

    Args:
        axes: The axes to scale.
        width: Magnitude up to which the scale is nearly linear.
        reach: Magnitude at both ends.
    """
    axes.set_xscale("asinh", linear_width=width)
    axes.set_xlim(-reach, reach)
    axes.xaxis.set_major_locator(FixedLocator(ticks(width, reach)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _position: as_fraction(value)))


def pixels(figure: Figure) -> NDArray[np.uint8]:
    """Render a figure as an array [height, width, 3]."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    return np.asarray(canvas.buffer_rgba())[:, :, :3].copy()  # type: ignore[no-untyped-call]


def tidy(axes: Axes) -> None:
    """Give axes the look of all of pwfn's pictures."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GRAY)
    axes.tick_params(colors=INK)
    axes.grid(axis="y", color="#E6E6E6", linewidth=0.8)
    axes.set_axisbelow(True)


def save(figure: Figure, path: Path) -> None:
    """Write a figure as a PNG; the folder is made where it is missing."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    FigureCanvasAgg(figure)
    with replacing(path) as unfinished:
        figure.savefig(unfinished, format="png")
