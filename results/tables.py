"""The tables and pictures of docs/study.md, made from the CSV files beside this one and from nothing else.

    python results/tables.py    # puts the tables into docs/study.md, draws docs/study_*.png

A setting is what was run with one or several seeds; its figures are mean and standard deviation over them. Two settings
are compared seed by seed, which share the pretrained network: the mean difference with its 95 % interval by Student's t.
"""

from __future__ import annotations

import argparse
import csv
import math
import shlex
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from scipy.stats import t as student

HERE = Path(__file__).resolve().parent
DOCS = HERE.parent / "docs"
METHOD = "sigma, noise"
NOISE = "10 %"  # standard deviation of the noise, as a share of each weight
AXES = {"bits": "bits per weight", "file_mb": "model.pwfn, MB", "work": "shifts and adds / multiplication"}
UNFINISHED = " finish=none"  # of runs before the study's experiments had a finishing, whose commands do not say so
TICKS = (-80, -40, -20, -10, -5, -2, -1, -0.5, 0, 0.5, 1)
PLACED = ("seed=", "experiment=study_", "pretrain=", "model.checkpoint=")


@dataclass(frozen=True)
class Final:
    """The end of one run."""

    network: str
    seed: int
    setting: str  # what its command says beside network and seed
    rule: str  # what is compared: tolerance, noise, codebook and clustering, without how far they are turned up
    pretrained: float
    unfinished: float  # top1 after the last clustering, before what is not quantised trained on
    top1: float
    bits: float
    values: int
    file_mb: float
    live_bits: float | None  # bits per weight of those that the loss feels at all, where that was measured
    evaluated: dict[str, float]  # figures of evaluate.py, where it was run

    @property
    def work(self) -> float:
        """Shifts and adds of one image over the multiplications by weights that they replace; nan where not measured."""
        if not self.evaluated:
            return math.nan
        return (self.evaluated["bill/total/shifts"] + self.evaluated["bill/total/adds"]) / self.evaluated[
            "bill/total/macs"
        ]

    @property
    def change(self) -> float:
        return self.top1 - self.pretrained


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    page = (DOCS / "study.md").read_text(encoding="utf-8")
    for path in sorted(HERE.glob("*_rounds.csv")):
        name, runs = path.stem.removesuffix("_rounds"), finals(path)
        page = put(page, name, table(runs))
        page = put(page, f"{name} compared", comparisons(runs))
        page = put(page, f"{name} evaluated", evaluations(runs))
        if len(groups(runs)) > 1:
            picture(runs, DOCS / f"study_{name}.png")
    (DOCS / "study.md").write_text(page, encoding="utf-8")


def put(page: str, name: str, lines: Sequence[str]) -> str:
    """Replace what stands between the two marks of this name; of no lines there need be no marks."""
    if not lines:
        return page
    first, last = f"<!-- {name} -->", f"<!-- end of {name} -->"
    if page.count(first) != 1 or page.count(last) != 1:
        raise SystemExit(f"docs/study.md: must hold the lines {first} and {last} once each")
    return "\n".join([page.partition(first)[0] + first, *lines, last + page.partition(last)[2]])


def finals(path: Path) -> list[Final]:
    figures = evaluated(path.with_name(path.name.replace("_rounds", "_evaluations")))
    live = live_bits(path.with_name(path.name.replace("_rounds", "_live")))
    last: dict[tuple[str, str], dict[str, str]] = {}
    clustered: dict[tuple[str, str], float] = {}
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):  # rounds are in order
            run = row["command"], row["commit"]
            last[run] = row
            if float(row["fraction"]) == 1:
                clustered.setdefault(run, float(row["clustered/top1"]))
    return [
        Final(
            network=row["network"],
            seed=int(row["seed"]),
            setting=setting(row["command"]) + ("" if int(row["finish_epochs"]) else UNFINISHED),
            rule=rule(row),
            pretrained=float(row["pretrained_top1"]),
            unfinished=clustered[run],
            top1=float(row["clustered/top1"]),
            bits=float(row["entropy_bits"]) if row["scope"] != "tensor" else float(row["tensor_entropy_bits"]),
            values=int(row["unique_weights"]) if row["scope"] != "tensor" else int(row["tensor_values"]),
            file_mb=float(row["file_mb"]),
            live_bits=live.get(run),
            evaluated=figures.get(run, {}),
        )
        for run, row in last.items()
    ]


def live_bits(path: Path) -> dict[tuple[str, str], float]:
    if not path.exists():
        return {}
    with path.open(encoding="utf-8", newline="") as file:
        return {(row["command"], row["commit"]): float(row["live_bits"]) for row in csv.DictReader(file)}


def evaluated(path: Path) -> dict[tuple[str, str], dict[str, float]]:
    found: dict[tuple[str, str], dict[str, float]] = defaultdict(dict)
    if path.exists():
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                found[row["command"], row["commit"]][row["figure"]] = float(row["value"])
    return found


def setting(command: str) -> str:
    words = shlex.split(command)[2:]
    return " ".join(word for word in words if not word.startswith(PLACED))


def rule(row: dict[str, str]) -> str:
    """A name for a curve of the picture."""
    parts = [] if row["clustering"] == "Nearest" else [row["tolerance"].lower()]
    if row["codebook"] != "AdditivePow2":
        parts.append(row["codebook"].lower())
    if row["clustering"] != "Greedy":
        parts.append({"GreedyBits": "bits first", "Nearest": "nearest"}[row["clustering"]])
    if row["scope"] == "tensor":
        parts.append("per tensor")
    parts.append("noise" if row["noise"] == "true" else "no noise")
    if float(row["rest_epochs"]) == 0:
        parts.append("no training")
    elif not int(row["finish_epochs"]):
        parts.append("no finishing")
    if float(row["distillation"] or 0):
        parts.append("distilled")
    return ", ".join(parts)


def groups(runs: Iterable[Final]) -> dict[str, list[Final]]:
    found: dict[str, list[Final]] = defaultdict(list)
    for run in runs:
        found[run.setting].append(run)
    return found


def table(runs: Sequence[Final]) -> list[str]:
    lines = [
        "| setting | seeds | bits | of live weights | values | file MB | change, points | before the finishing |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, group in by_bits(runs):
        live = [run.live_bits for run in group if run.live_bits is not None]
        lines.append(
            f"| `{name}` | {len(group)} | {spread([r.bits for r in group])} | {spread(live) if len(live) == len(group) else ''} | {', '.join(str(r.values) for r in group)} | "
            f"{spread([r.file_mb for r in group])} | {interval([r.change for r in group])} | "
            f"{spread([r.unfinished - r.pretrained for r in group], '+')} |"
        )
    return lines


def comparisons(runs: Sequence[Final]) -> list[str]:
    """Every setting held against the method's of no fewer bits, seed by seed, and those without noise against with it."""
    lines = ["| setting | bits | against | bits | difference, points | |", "|---|---|---|---|---|---|"]
    settings = by_bits(runs)
    for name, reference in settings:
        if reference[0].rule != METHOD:
            continue
        for other, group in settings:
            if group[0].rule == METHOD or bits(group) > bits(reference):
                continue
            seeds = {run.seed: run for run in reference}
            pairs = [run.change - seeds[run.seed].change for run in group if run.seed in seeds]
            if len(pairs) >= 3:
                lines.append(
                    f"| `{other}` | {bits(group):.2f} | `{name}` | {bits(reference):.2f} | {interval(pairs)} | {verdict(pairs)} |"
                )
    return lines if len(lines) > 2 else []


def evaluations(runs: Sequence[Final]) -> list[str]:
    """Calibration, accuracy under weight noise and the work in shifts and adds, of settings evaluated with all seeds."""
    lines = [
        f"| setting | seeds | NLL, nats | ECE % | points lost by {NOISE} noise | shifts and adds / multiplication |",
        "|---|---|---|---|---|---|",
    ]
    measured = [(name, group) for name, group in by_bits(runs) if all(run.evaluated for run in group)]
    if measured:
        pretrained = {run.seed: run for _, group in measured for run in group}.values()
        lines.append(f"| pretrained | {len(pretrained)} | {_figures(pretrained, 'pretrained')} | 1 |")
    for name, group in measured:
        work = spread([run.work for run in group])
        lines.append(f"| `{name}` | {len(group)} | {_figures(group, 'clustered')} | {work} |")
    return lines if measured else []


def _figures(group: Iterable[Final], network: str) -> str:
    found = [run.evaluated for run in group]
    nll, ece, top1 = ([one[f"rows/{network}/mean/{figure}"] for one in found] for figure in ("nll", "ece", "top1"))
    noisy = [one[f"noise/{network}/relative/0.1/top1"] for one in found]
    lost = [before - after for before, after in zip(top1, noisy, strict=True)]
    return f"{spread(nll, digits=3)} | {spread(ece)} | {spread(lost)}"


def by_bits(runs: Sequence[Final]) -> list[tuple[str, list[Final]]]:
    return sorted(groups(runs).items(), key=lambda item: -bits(item[1]))


def bits(group: Sequence[Final]) -> float:
    return statistics.mean(run.bits for run in group)


def verdict(differences: Sequence[float]) -> str:
    mean, half = mean_and_half(differences)
    return "no difference seen" if abs(mean) <= half else "better" if mean > 0 else "worse"


def spread(values: Sequence[float], sign: str = "", digits: int = 2) -> str:
    if len(values) == 1:
        return f"{values[0]:{sign}.{digits}f}"
    return f"{statistics.mean(values):{sign}.{digits}f} ± {statistics.stdev(values):.{digits}f}"


def interval(differences: Sequence[float]) -> str:
    """The mean of paired differences with its 95 % interval (Student's t); of one pair the difference alone."""
    if len(differences) == 1:
        return f"{differences[0]:+.2f}"
    mean, half = mean_and_half(differences)
    return f"{mean:+.2f} [{mean - half:+.2f}, {mean + half:+.2f}]"


def mean_and_half(values: Sequence[float]) -> tuple[float, float]:
    half = student.ppf(0.975, len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    return statistics.mean(values), float(half)


def picture(runs: Sequence[Final], path: Path) -> None:
    """Accuracy against bits: a small dot for each run, a large one for the mean of a setting, a line for each rule."""
    figure, axes = plt.subplots(1, len(AXES), figsize=(14, 4.5), sharey=True, layout="constrained")
    rules = sorted({run.rule for run in runs})
    markers = "os^Dv<>PX*hp"
    colours = plt.get_cmap("tab10").colors
    for index, name in enumerate(rules):
        of_rule = [run for run in runs if run.rule == name]
        style = {"color": colours[index % 10], "marker": markers[index % 12]}
        for axis, key in zip(axes, AXES, strict=True):
            axis.scatter([getattr(r, key) for r in of_rule], [r.change for r in of_rule], s=12, alpha=0.5, **style)
            means = sorted(
                (statistics.mean(getattr(r, key) for r in group), statistics.mean(r.change for r in group))
                for group in groups(of_rule).values()
            )
            label = name if key == "bits" else None
            axis.plot([x for x, _ in means], [y for _, y in means], ms=6, lw=1, label=label, **style)
    for axis, label in zip(axes, AXES.values(), strict=True):
        axis.set_xlabel(label)
        axis.grid(alpha=0.3)
        axis.axhline(0, color="grey", lw=0.8)
        axis.set_yscale("symlog", linthresh=1)
        lowest = min(run.change for run in runs)
        axis.set_yticks([tick for tick in TICKS if tick >= 2 * lowest or tick >= -1], minor=False)
        axis.set_yticks([], minor=True)
        axis.yaxis.set_major_formatter("{x:g}")
    axes[0].set_ylabel("top-1 less that of the pretrained network, points")
    figure.legend(loc="outside right upper", fontsize=8)
    figure.savefig(path, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    main()
