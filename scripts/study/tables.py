"""Make the tables and pictures of docs/study.md from the CSV files of results/ alone.

    python scripts/study/tables.py    # puts the tables into docs/study.md, draws docs/study_*.png

A setting is what was run with one or several seeds; its figures are mean and standard deviation over them.
Two settings are compared seed by seed, which share the pretrained network: the mean difference with its 95 %
interval by Student's t.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from scipy.stats import t as student

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from scripts.study.finals import CHOSEN, CODEBOOKS, ONE_SHOT, TRAINED, Final, finals, groups
from scripts.study.pictures import picture

PROJECT = Path(__file__).resolve().parents[2]
RESULTS = PROJECT / "results"
DOCS = PROJECT / "docs"
LEAST = 3  # seeds that both settings of a comparison must have
NONE = "no difference seen"
NOISE = "10 %"  # standard deviation of the noise, as a share of each weight


def main() -> None:
    """Run what the command line asks for."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    page = (DOCS / "study.md").read_text(encoding="utf-8")
    page = put(page, "chances", chances(trained()))
    for path in sorted(RESULTS.glob("*_rounds.csv")):
        name, runs = path.stem.removesuffix("_rounds"), finals(path)
        for title, lines in made_of(name, runs).items():
            page = put(page, title, lines)
        for section in (TRAINED, ONE_SHOT):
            file = f"study_{'_'.join(filter(None, (name, section)))}.png"
            if f"({file})" in page:
                picture([run for run in runs if run.section == section], DOCS / file)
    (DOCS / "study.md").write_text(page, encoding="utf-8")


def trained() -> dict[str, list[Final]]:
    """Return the runs of each file of results that are compared with each other."""
    paths = {path.stem.removesuffix("_rounds"): path for path in sorted(RESULTS.glob("*_rounds.csv"))}
    return {name: [run for run in finals(path) if run.section == TRAINED] for name, path in paths.items()}


def made_of(name: str, runs: Sequence[Final]) -> dict[str, list[str]]:
    """Make all tables of a file of results by their marks' names; those without lines are left out."""
    sections = (TRAINED, ONE_SHOT, CODEBOOKS, CHOSEN)
    of = {section: [run for run in runs if run.section == section] for section in sections}
    return {f"{name} {section}".strip(): table(shown) for section, shown in of.items()} | {
        f"{name} compared": comparisons(of[TRAINED]),
        f"{name} evaluated": evaluations(runs),
    }


def put(page: str, name: str, lines: Sequence[str]) -> str:
    """Replace what stands between the two marks of this name; of no lines there need be no marks."""
    if not lines:
        return page
    first, last = f"<!-- {name} -->", f"<!-- end of {name} -->"
    if page.count(first) != 1 or page.count(last) != 1:
        raise SystemExit(f"docs/study.md: must hold the lines {first} and {last} once each")
    return "\n".join([page.partition(first)[0] + first, *lines, last + page.partition(last)[2]])


def table(runs: Sequence[Final]) -> list[str]:
    """Format runs as the rows of a Markdown table."""
    lines = [
        "| setting | seeds | bits | of live weights | values | file MB | change, points | before the finishing |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, group in by_bits(runs):
        live = [run.live_bits for run in group if run.live_bits is not None]
        cells = (
            f"`{name}`",
            str(len(group)),
            spread([run.bits for run in group]),
            spread(live) if len(live) == len(group) else "",
            ", ".join(str(run.values) for run in group),
            spread([run.file_mb for run in group]),
            interval([run.change for run in group]),
            spread([run.unfinished - run.pretrained for run in group], "+"),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return lines if runs else []


class Pair(NamedTuple):
    """Hold a setting against one of another rule with at least its bits; `differences` are in points."""

    setting: str
    bits: float
    against: str
    of_against: float  # its bits
    differences: list[float]

    @property
    def chance(self) -> float:
        """Return the probability of so large a mean difference where there is none, by Student's t."""
        spread = statistics.stdev(self.differences) / math.sqrt(len(self.differences))
        mean = abs(statistics.mean(self.differences))
        return float(2 * student.sf(mean / spread, len(self.differences) - 1)) if spread else float(mean == 0)


def pairs(runs: Sequence[Final]) -> Iterable[Pair]:
    """Pair settings with `LEAST` seeds in common."""
    settings = by_bits(runs)
    for name, reference in settings:
        seeds = {run.seed: run for run in reference}
        for other, group in settings:
            if group[0].rule != reference[0].rule and bits(group) <= bits(reference):
                differences = [run.change - seeds[run.seed].change for run in group if run.seed in seeds]
                if len(differences) >= LEAST:
                    yield Pair(other, bits(group), name, bits(reference), differences)


def comparisons(runs: Sequence[Final]) -> list[str]:
    """Compare pairs of ways over the seeds that both have."""
    lines = ["| setting | bits | against | bits | difference, points | |", "|---|---|---|---|---|---|"]
    for pair in pairs(runs):
        cells = (f"`{pair.setting}`", f"{pair.bits:.2f}", f"`{pair.against}`", f"{pair.of_against:.2f}")
        lines.append(f"| {' | '.join(cells)} | {interval(pair.differences)} | {verdict(pair.differences)} |")
    return lines if len(lines) > 2 else []


def chances(networks: Mapping[str, Sequence[Final]]) -> list[str]:
    """Count comparisons and differences, and name the ones that hold if their number is allowed for."""
    found = [(name, pair) for name, runs in networks.items() for pair in pairs(runs)]
    seen = [pair for _, pair in found if verdict(pair.differences) != NONE]
    sure = [(name, pair) for name, pair in found if pair.chance * len(found) < 0.05]
    lines = [
        f"There are {len(found)} comparisons, of which {len(seen)} show a difference by their own intervals. "
        f"Allowing for their number by Bonferroni's rule, {len(sure)} stay beyond chance at 5 %:",
        "",
    ]
    return lines + [
        f"- {name}: `{pair.setting}` {verdict(pair.differences)} than `{pair.against}`, "
        f"{interval(pair.differences)} points"
        for name, pair in sure
    ]


def evaluations(runs: Sequence[Final]) -> list[str]:
    """Tabulate calibration, weight noise and shifts and adds of settings evaluated with all seeds."""
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
    """Group runs by their settings, the most bits first."""
    return sorted(groups(runs).items(), key=lambda item: -bits(item[1]))


def bits(group: Sequence[Final]) -> float:
    """Average the bits per weight of a group."""
    return statistics.mean(run.bits for run in group)


def verdict(differences: Sequence[float]) -> str:
    """Say whether differences over seeds can be told from 0."""
    mean, half = mean_and_half(differences)
    return NONE if abs(mean) <= half else "better" if mean > 0 else "worse"


def spread(values: Sequence[float], sign: str = "", digits: int = 2) -> str:
    """Format a mean with its standard deviation, a single value alone."""
    if len(values) == 1:
        return f"{values[0]:{sign}.{digits}f}"
    return f"{statistics.mean(values):{sign}.{digits}f} ± {statistics.stdev(values):.{digits}f}"


def interval(differences: Sequence[float]) -> str:
    """Return the mean of paired differences with its 95 % interval (t); of one pair the difference."""
    if len(differences) == 1:
        return f"{differences[0]:+.2f}"
    mean, half = mean_and_half(differences)
    return f"{mean:+.2f} [{mean - half:+.2f}, {mean + half:+.2f}]"


def mean_and_half(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean and half the width of its 95 % interval."""
    half = student.ppf(0.975, len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    return statistics.mean(values), float(half)


if __name__ == "__main__":
    main()
