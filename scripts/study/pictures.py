"""Draw the pictures of docs/study.md."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from scripts.study.finals import Final, groups

AXES = {"bits": "bits per weight", "file_mb": "model.pwfn, MB", "work": "shifts and adds / multiplication"}
TICKS = (-80, -40, -20, -10, -5, -2, -1, -0.5, 0, 0.5, 1)


def picture(runs: Sequence[Final], path: Path) -> None:
    """Draw accuracy against bits: small dots are runs, large ones means of a setting, lines rules."""
    shown = {key: label for key, label in AXES.items() if any(math.isfinite(getattr(run, key)) for run in runs)}
    size = (4.2 * len(shown) + 2.4, 4.5)
    figure, axes = plt.subplots(1, len(shown), figsize=size, sharey=True, squeeze=False, layout="constrained")
    panels = axes[0]
    rules = sorted({run.rule for run in runs})
    markers = "os^Dv<>PX*hp"
    colors = plt.get_cmap("tab10" if len(rules) <= 10 else "tab20").colors
    for index, name in enumerate(rules):
        of_rule = [run for run in runs if run.rule == name]
        style = {"color": colors[index % len(colors)], "marker": markers[index % 12]}
        for axis, key in zip(panels, shown, strict=True):
            axis.scatter([getattr(r, key) for r in of_rule], [r.change for r in of_rule], s=12, alpha=0.5, **style)
            means = sorted(
                (statistics.mean(getattr(r, key) for r in group), statistics.mean(r.change for r in group))
                for group in groups(of_rule).values()
                if all(math.isfinite(getattr(r, key)) for r in group)
            )
            label = name if key == "bits" else None
            axis.plot([x for x, _ in means], [y for _, y in means], ms=6, lw=1, label=label, **style)
    for axis, label in zip(panels, shown.values(), strict=True):
        axis.set_xlabel(label)
        axis.grid(alpha=0.3)
        axis.axhline(0, color="gray", lw=0.8)
        axis.set_yscale("symlog", linthresh=1)
        lowest = min(run.change for run in runs)
        axis.set_yticks([tick for tick in TICKS if tick >= 2 * lowest or tick >= -1], minor=False)
        axis.set_yticks([], minor=True)
        axis.yaxis.set_major_formatter("{x:g}")
    panels[0].set_ylabel("top-1 less that of the pretrained network, points")
    figure.legend(loc="outside right upper", fontsize=8)
    figure.savefig(path, dpi=110)
    plt.close(figure)
