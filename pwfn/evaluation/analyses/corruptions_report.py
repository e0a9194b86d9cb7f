"""What corrupted images did to accuracy and confidence: a table, corruptions.csv, and a panel for each corruption."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from matplotlib.figure import Figure
from rich.table import Table

from pwfn.evaluation.analyses.corruptions import CorruptedScore, corrupted_scores
from pwfn.evaluation.measure import Measured, Setup
from pwfn.evaluation.plots import COLOURS
from pwfn.evaluation.tables import Section, plain_table
from pwfn.monitoring.plots import INK, save, tidy
from pwfn.records.files import write_text

UNITS = {"noise": "of white", "blur": "of the height", "contrast": "left", "rotation": "degrees"}
Key = tuple[str, str]  # network, mode


def corruptions_section(setup: Setup, measured: Measured) -> Section:
    """Measure, draw and write; the images as they are come from `measured`."""
    scores = corrupted_scores(setup)
    keys = list(dict.fromkeys((one.network, one.mode) for one in scores))
    clean = {key: _clean(measured, key) for key in keys}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["network", "weights", "corruption", "step", "strength", "confidence", *scores[0].figures])
    for one in scores:
        flat = [one.network, one.mode, one.kind, one.step, one.strength, one.confidence]
        writer.writerow([*flat, *("" if value is None else value for value in one.figures.values())])
    write_text(setup.subject.folder / "corruptions.csv", text.getvalue())
    draw_corruptions(scores, clean, setup.subject.folder / "corruptions.png")
    return Section("corruptions", [asdict(one) for one in scores], (corruptions_table(scores, clean),))


def _clean(measured: Measured, key: Key) -> CorruptedScore:
    row = measured.row(*key)
    return CorruptedScore(*key, "none", 0, 0.0, row.figures, float(100 * row.answers.confidence.mean()))


def corruptions_table(scores: Sequence[CorruptedScore], clean: dict[Key, CorruptedScore]) -> Table:
    """A row for each strength: top1 and mean confidence of each network, and the ensemble's mutual information."""
    headings = [f"{network}\n{mode}" for network, mode in clean]
    table = plain_table("corruption", "", *headings, "mutual\nnats", left=1, title="top1 % (confidence %)")
    places = list(dict.fromkeys((one.kind, one.step, one.strength) for one in scores))
    rows = [("none", "", list(clean.values()))]
    for kind, step, strength in places:
        here = {(one.network, one.mode): one for one in scores if (one.kind, one.step) == (kind, step)}
        label = f"{kind}, {UNITS[kind]}" if step == 1 else ""
        rows.append((label, f"{strength:g}", [here[key] for key in clean]))
    for label, strength_text, cells in rows:
        mutual = next((m for one in cells if (m := one.figures["mutual_information"]) is not None), None)
        texts = [f"{one.figures['top1']:.2f} ({one.confidence:.1f})" for one in cells]
        table.add_row(label, strength_text, *texts, "" if mutual is None else f"{mutual:.4f}")
    return table


def draw_corruptions(scores: Sequence[CorruptedScore], clean: dict[Key, CorruptedScore], path: Path) -> None:
    """Accuracy (lines) and mean confidence (dots) over the strength; where dots are above their line: overconfident."""
    kinds = list(dict.fromkeys(one.kind for one in scores))
    figure = Figure(figsize=(2.9 * len(kinds) + 1.0, 4.2), dpi=150, layout="constrained")
    panels = figure.subplots(1, len(kinds), sharey=True, squeeze=False)[0]
    for axes, kind in zip(panels, kinds, strict=True):
        for key, start in clean.items():
            here = [start, *(one for one in scores if (one.network, one.mode, one.kind) == (*key, kind))]
            steps, color = [one.step for one in here], "#007A5A" if key[1] == "ensemble" else COLOURS[key[0]]
            top1, sure = [one.figures["top1"] for one in here], [one.confidence for one in here]
            axes.plot(steps, top1, color=color, linewidth=1.7, label=", ".join(key))
            axes.plot(steps, sure, color=color, linestyle="", marker="o", markersize=4, markerfacecolor="none")
        axes.set_title(kind, loc="left", fontsize=10, color=INK)
        axes.set_xticks(range(max(one.step for one in scores if one.kind == kind) + 1))
        axes.set_ylim(0, 102)
        tidy(axes)
    panels[0].set_ylabel("line: right, %   circles: confidence, %", color=INK)
    panels[0].legend(frameon=False, loc="lower left", fontsize=8)
    figure.supxlabel("strength of the corruption (0: as it is)", fontsize=10, color=INK)
    save(figure, path)
