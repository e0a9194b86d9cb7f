"""Measure accuracy under Gaussian noise on the weights, in three units."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from rich.table import Table
from scipy.stats import t as student
from torch import Tensor, nn
from typing_extensions import override

from pwfn.bayesian.posterior import QuantizedTensor, quantized_tensors, replaced
from pwfn.evaluation.analyses.analysis import Analysis
from pwfn.evaluation.bootstrap import LEVEL
from pwfn.evaluation.find_subject import subject_of
from pwfn.evaluation.measure import Measured, Setup, scores_of
from pwfn.evaluation.plots import COLORS
from pwfn.evaluation.settings import NOISE_KINDS, EvaluateSettings
from pwfn.evaluation.subject import CLUSTERED, PRETRAINED, Subject
from pwfn.evaluation.tables import Section, new_table
from pwfn.monitoring.plots import INK, save, tidy
from pwfn.randomness import mixed_seed
from pwfn.records.columns import csv_of
from pwfn.records.files import write_text
from pwfn.records.rounds import Scores

Scale = Callable[[QuantizedTensor], Tensor]
UNITS = {"absolute": "weight units", "relative": "shares of the weight", "sigma": "learned sigmas"}
OTHERS = ("#007A5A", "#CC79A7", "#56B4E9", "#E69F00")  # for runs given for comparison


class WeightNoise(Analysis):
    """Put the networks of a subject, and of runs to compare, under noise of rising strength."""

    @property
    @override
    def wanted(self) -> bool:
        return self.settings.noise.draws > 0

    @override
    def check(self) -> None:
        compared(self.settings)

    @override
    def run(self, setup: Setup, measured: Measured) -> Section:
        points, folder = noise_curves(setup), setup.subject.folder
        headings = ("network", "unit", "level", "draw", "top1", "top5", "loss")
        scores = ((p, number, s) for p in points for number, s in enumerate(p.draws))
        rows = ((p.network, p.kind, p.level, number, s.top1, s.top5, s.loss) for p, number, s in scores)
        write_text(folder / "noise.csv", csv_of(headings, rows))
        without = {name: scores.top1 for name, scores in measured.at_mean.items()}
        draw_noise(points, without, folder / "noise.png")
        content = [
            {"network": p.network, "unit": p.kind, "level": p.level, "top1": p.top1, "half_width": p.half_width}
            for p in points
        ]
        return Section("noise", content, (noise_table(points),))


@dataclass(frozen=True)
class NoisePoint:
    """Hold the scores of one network at one level of noise, draw by draw."""

    network: str
    kind: str
    level: float
    draws: Sequence[Scores]

    @property
    def top1(self) -> float:
        """Return the mean over the draws, in percent."""
        return float(np.mean([one.top1 for one in self.draws]))

    @property
    def half_width(self) -> float:
        """Return half of the 95 % confidence interval of that mean, by Student's t, in points."""
        count = len(self.draws)
        deviation = np.std([one.top1 for one in self.draws], ddof=1)
        return float(student.ppf((1 + LEVEL) / 2, count - 1) * deviation / count**0.5)


@contextmanager
def noisy(network: nn.Module, scale: Scale, seed: int, draw: int) -> Iterator[None]:
    """Add noise to every quantized weight inside the block: mu + scale · eps.

    Every level, unit and network of one architecture is given the same eps.

    Args:
        network: the Bayesian network; it is at its means again when the block ends.
        scale: the standard deviation of each weight of a tensor.
        seed: with `draw` and the place of a weight, it decides its eps.
        draw: the number of the draw, from 0.
    """
    tensors = quantized_tensors(network)
    generator = torch.Generator(tensors[0].mu.device).manual_seed(mixed_seed(seed, draw))
    noise = {
        id(t.gaussian): torch.randn(t.mu.shape, generator=generator, dtype=t.mu.dtype, device=t.mu.device)
        for t in tensors
    }
    with torch.no_grad(), replaced(network, lambda t: t.mu + scale(t) * noise[id(t.gaussian)]):
        yield


def scales(kind: str, level: float, sigma_of: nn.Module) -> Scale:
    """Return the standard deviation of the noise on every weight.

    Args:
        kind: the unit of `level`: `absolute`, `relative` to the size of the weight, or learned `sigma`.
        level: how many of these units, above 0.
        sigma_of: the network whose learned sigmas count, of the same tensors as the one under noise.
    """
    if kind == "absolute":
        return lambda tensor: torch.full_like(tensor.mu, level)
    if kind == "relative":
        return lambda tensor: level * tensor.mu.abs()
    sigmas = {tensor.name: tensor.gaussian.effective_sigma for tensor in quantized_tensors(sigma_of)}
    return lambda tensor: level * sigmas[tensor.name]


def compared(settings: EvaluateSettings) -> list[tuple[EvaluateSettings, Subject]]:
    """Return the runs given for comparison, each on its own images; raises what `subject_of` raises."""
    others = [replace(settings, run=run, artifact=None, data=None, data_root=None) for run in settings.compare]
    return [(other, subject_of(other)) for other in others]


def noise_curves(setup: Setup) -> list[NoisePoint]:
    """Measure every level of every unit, for pretrained and clustered network and the runs to compare.

    In units of sigma the pretrained network is given the very noise that the clustered one is given.
    """
    points = []
    clustered = setup.network(CLUSTERED)
    for name in (PRETRAINED, CLUSTERED):
        if name in setup.subject.networks:
            network = clustered if name == CLUSTERED else setup.network(name)
            points += list(_curves(setup, name, network, clustered))
    if CLUSTERED not in setup.subject.learned and setup.settings.noise.sigma:
        setup.subject.notes.append(f"No noise in units of sigma: {setup.subject.not_learned}.")
    for other, subject in compared(setup.settings):
        setup_of_other = Setup.of(other, subject, setup.say)
        network = setup_of_other.network(CLUSTERED)
        points += list(_curves(setup_of_other, subject.title, network, network))
    return points


def _curves(setup: Setup, name: str, network: nn.Module, sigma_of: nn.Module) -> Iterator[NoisePoint]:
    levels = setup.settings.noise
    for kind in NOISE_KINDS:
        if kind == "sigma" and CLUSTERED not in setup.subject.learned:
            continue
        for level in getattr(levels, kind):
            setup.say(f"{name}: {kind} noise, level {level:g}")
            scale = scales(kind, level, sigma_of)
            draws = []
            for draw in range(levels.draws):
                with noisy(network, scale, setup.settings.seed, draw):
                    draws.append(scores_of(network, setup.images, setup.on))
            yield NoisePoint(name, kind, level, draws)


def by_level(points: Sequence[NoisePoint]) -> Mapping[tuple[str, float], list[NoisePoint]]:
    """Group the points of all networks by unit and level."""
    found: dict[tuple[str, float], list[NoisePoint]] = {}
    for point in points:
        found.setdefault((point.kind, point.level), []).append(point)
    return found


def noise_table(points: Sequence[NoisePoint]) -> Table:
    """Return a table with a row for each level and a column for each network."""
    names = list(dict.fromkeys(point.network for point in points))
    title = f"top1 % under weight noise: mean of {len(points[0].draws)}, 95 % band"
    table = new_table("unit", "level", *(_short(name) for name in names), title=title)
    last = ""
    for (kind, level), here in by_level(points).items():
        cells = {point.network: f"{point.top1:.2f} ± {point.half_width:.2f}" for point in here}
        table.add_row(UNITS[kind] if kind != last else "", f"{level:g}", *(cells.get(name, "") for name in names))
        last = kind
    return table


def draw_noise(points: Sequence[NoisePoint], at_mean: dict[str, float], path: Path) -> None:
    """Draw one panel for each unit of noise, as a PNG; dotted lines are accuracies without noise.

    Args:
        points: every network at every level.
        at_mean: top1 (percent) of networks without noise.
        path: the file to write.
    """
    kinds = list(dict.fromkeys(point.kind for point in points))
    names = list(dict.fromkeys(point.network for point in points))
    others = dict(zip((name for name in names if name not in COLORS), OTHERS * len(names), strict=False))
    colors = {**COLORS, **others}
    figure = Figure(figsize=(3.4 * len(kinds) + 0.6, 4.4), dpi=150, layout="constrained")
    panels = figure.subplots(1, len(kinds), sharey=True, squeeze=False)[0]
    for axes, kind in zip(panels, kinds, strict=True):
        here = [point for point in points if point.kind == kind]
        for name in names:
            _draw_curve(axes, [point for point in here if point.network == name], colors[name])
            if name in at_mean:
                axes.axhline(at_mean[name], color=colors[name], linewidth=0.9, linestyle=(0, (1, 2)))
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(FixedLocator(sorted({point.level for point in here})))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.set_title(f"noise in {UNITS[kind]}", loc="left", fontsize=10, color=INK)
        tidy(axes)
    panels[0].set_ylabel("top-1 accuracy, %", color=INK)
    panels[0].set_ylim(bottom=0)
    panels[0].legend(frameon=False, loc="lower left", fontsize=9)
    figure.supxlabel("standard deviation of the noise", fontsize=10, color=INK)
    save(figure, path)


def _draw_curve(axes: Axes, points: Sequence[NoisePoint], color: str) -> None:
    """Draw the accuracy of one network over the level, with its band."""
    level = [point.level for point in points]
    top1, half = (np.array([getattr(point, key) for point in points]) for key in ("top1", "half_width"))
    axes.fill_between(level, top1 - half, np.minimum(top1 + half, 100), color=color, alpha=0.2, linewidth=0)
    label = _short(points[0].network) if points else ""
    axes.plot(level, top1, color=color, marker="o", markersize=4, linewidth=1.6, label=label)


def _short(name: str) -> str:
    """Keep the end of a long path, which tells one run from another."""
    return name if len(name) <= 20 else "…" + name[-19:]
