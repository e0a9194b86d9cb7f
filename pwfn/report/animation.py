"""Draw a run as a film: its weights leave their histogram for a few shared values, round by round."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from pwfn.errors import RunError
from pwfn.monitoring.plots import INK, ORANGE, asinh_axis, pixels, tidy
from pwfn.records.files import replacing
from pwfn.records.rounds import CLUSTER_COLUMNS
from pwfn.records.weight_histogram import WeightHistogram
from pwfn.report.collect import Run, read_run
from pwfn.report.files import RunFiles

ANIMATION = "rounds.gif"
BETWEEN = 5  # pictures from one round to the next
STILL, MOVING, LAST = 900, 70, 4000  # milliseconds that a picture stays: of a round, between two, of the last round
_COLORS = 48  # of the palette of a GIF


@dataclass(frozen=True)
class Frame:
    """Hold one picture: the share of the weights that is free, and the weights on each value.

    `milliseconds` is how long it stays.
    """

    title: str
    free: float
    counts: dict[float, float]
    milliseconds: int


def write_animation(folder: Path, target: Path) -> int:
    """Write the film of the run in `folder` as a GIF and return its number of pictures.

    Raises:
        RunError: the folder does not hold what the film is made of.
    """
    run = read_run(folder, folder.name)
    if run.histogram is None or not run.rounds:
        missing = "; ".join(run.problems) or "weights.json, which a finished run has, and rounds.json are needed"
        raise RunError(f"run = {str(folder)!r}: must be the folder of a finished run ({missing})")
    spread = WeightHistogram(**run.histogram)
    frames = list(frames_of(run, spread))
    pictures = _with_one_palette([_picture(frame, spread) for frame in frames])
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target) as unfinished:
        pictures[0].save(
            unfinished,
            format="GIF",
            save_all=True,
            append_images=pictures[1:],
            duration=[frame.milliseconds for frame in frames],
            loop=0,
            optimize=True,
        )
    return len(frames)


def frames_of(run: Run, spread: WeightHistogram) -> Iterator[Frame]:
    """Yield the pictures: the start, each round that clustered, and what lies between them."""
    clusters: dict[int, dict[float, float]] = {}
    for row in RunFiles(run.folder).table("clusters.csv", CLUSTER_COLUMNS):
        if row["round"] is not None and row["value"] is not None and row["count"]:
            clusters.setdefault(int(row["round"]), {})[float(row["value"])] = float(row["count"])
    rounds = [(int(row["round"] or 0), row) for row in run.rounds if int(row["round"] or 0) in clusters]
    before = Frame(f"{spread.weights:,} weights before the first round", 1.0, {}, 2 * STILL)
    yield before
    for number, row in rounds:
        fixed, bits = float(row["fraction"] or 0), float(row["entropy_bits"] or 0)
        title = (
            f"round {number + 1}: {100 * fixed:.1f} % share {len(clusters[number]):,} values, entropy {bits:.2f} bits"
        )
        last = number == rounds[-1][0]
        after = Frame(title, 1 - fixed, clusters[number], LAST if last else STILL)
        for step in range(1, BETWEEN):
            yield _between(before, after, step / BETWEEN)
        yield after
        before = after


def _between(before: Frame, after: Frame, share: float) -> Frame:
    values = before.counts.keys() | after.counts.keys()
    counts = {v: (1 - share) * before.counts.get(v, 0) + share * after.counts.get(v, 0) for v in values}
    return Frame(after.title, (1 - share) * before.free + share * after.free, counts, MOVING)


def _picture(frame: Frame, spread: WeightHistogram) -> Image.Image:
    figure = Figure(figsize=(7.2, 4.05), dpi=100, layout="constrained")
    axes = figure.subplots()
    asinh_axis(axes, spread.width, spread.reach)
    axes.set_yscale("log")
    # which weights are still free is not recorded, so they are shown as the start was, only fewer
    free = np.maximum(np.asarray(spread.before, dtype=float) * frame.free, 0.5)
    axes.stairs(
        free,
        spread.edges,
        baseline=0.5,
        fill=True,
        color="#9CC9E6",
        label="free weights (the shape is that of the start)",
    )
    shown = sorted((value, count) for value, count in frame.counts.items() if count > 0.5)
    values, counts = [value for value, _ in shown], [count for _, count in shown]
    axes.vlines(values, 0.5, counts, color=ORANGE, linewidth=1.1, label="on a shared value")
    axes.plot(values, counts, ".", color=ORANGE, markersize=4)
    axes.set_ylim(0.5, max(*spread.before, *spread.counts) * 6)
    axes.set_title(frame.title, loc="left", fontsize=11, color=INK)
    axes.set_xlabel("weight (linear near zero, logarithmic further out)")
    axes.set_ylabel("weights, per bin or value")
    tidy(axes)
    axes.legend(frameon=False, loc="upper left", ncols=2, fontsize=9, handlelength=1.2, borderaxespad=0.2)
    return Image.fromarray(pixels(figure))


def _with_one_palette(pictures: list[Image.Image]) -> list[Image.Image]:
    """Give all pictures the colors of the middle one, which has all: none must change in the film."""
    palette = pictures[len(pictures) // 2].quantize(_COLORS)
    return [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures]
