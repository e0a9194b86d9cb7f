"""Draw a search: every trial a dot, the Pareto front a line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from pwfn.monitoring.plots import BLUE, INK, ORANGE, save, tidy

_TITLES = {
    "clustered/val_top1": "Top-1 accuracy on the validation split, %",
    "clustered/top1": "Top-1 accuracy on the test split, %",
    "entropy_bits": "entropy, bits per weight",
}


def draw_front(
    points: Mapping[int, tuple[float, float]], front: Sequence[int], names: tuple[str, str], path: Path
) -> None:
    """Draw the objectives of a search as a PNG.

    Args:
        points: the two objectives of each trial by its number, the first upwards.
        front: numbers of the trials of the Pareto front.
        names: of the objectives.
        path: the file.
    """
    save(front_figure(points, front, names), path)


def front_figure(points: Mapping[int, tuple[float, float]], front: Sequence[int], names: tuple[str, str]) -> Figure:
    """Return the figure of `draw_front`.

    Args:
        points: as there.
        front: likewise.
        names: likewise.
    """
    figure = Figure(figsize=(8, 5), dpi=150, layout="constrained")
    axes = figure.subplots()
    others = [points[number] for number in points if number not in front]
    best = sorted((points[number][1], points[number][0], number) for number in front)
    if others:
        ups, acrosses = zip(*others, strict=True)
        axes.scatter(acrosses, ups, s=28, facecolor="none", edgecolor=BLUE, linewidth=1.2, label="other trials")
    axes.plot(
        [across for across, _, _ in best],
        [up for _, up, _ in best],
        color=ORANGE,
        marker="s",
        markersize=6,
        linewidth=1.4,
        drawstyle="steps-post",  # between two trials of the front nothing better than the left one is known
        label="Pareto front, with the numbers of its jobs",
    )
    for across, up, number in best:
        axes.annotate(
            str(number), (across, up), xytext=(-4, 5), ha="right", textcoords="offset points", fontsize=9, color=INK
        )
    axes.set_title(_TITLES.get(names[0], names[0]), loc="left", fontsize=11, color=INK)
    axes.set_xlabel(_TITLES.get(names[1], names[1]), color=INK)
    axes.margins(0.08)
    tidy(axes)
    axes.grid(axis="x", color="#E6E6E6", linewidth=0.8)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=10, labelcolor=INK)
    return figure
