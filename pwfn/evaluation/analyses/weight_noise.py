"""Accuracy against noise on the weights: how much a network bears, in three units of noise."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.stats import t as student
from torch import Tensor, nn

from pwfn.bayesian.posterior import QuantizedTensor, quantized_tensors, replaced
from pwfn.evaluation.bootstrap import LEVEL
from pwfn.evaluation.measure import Setup, scores_of
from pwfn.evaluation.settings import NOISE_KINDS, EvaluateSettings
from pwfn.evaluation.subject import CLUSTERED, PRETRAINED, Subject, subject_of
from pwfn.randomness import mixed_seed
from pwfn.records.rounds import Scores

Scale = Callable[[QuantizedTensor], Tensor]


@dataclass(frozen=True)
class NoisePoint:
    """One network at one level of noise: the scores of each draw."""

    network: str
    kind: str
    level: float
    draws: Sequence[Scores]

    @property
    def top1(self) -> float:
        """Mean over the draws, percent."""
        return float(np.mean([one.top1 for one in self.draws]))

    @property
    def half_width(self) -> float:
        """Half of the 95 % confidence interval of that mean, by Student's t, in points."""
        count = len(self.draws)
        deviation = np.std([one.top1 for one in self.draws], ddof=1)
        return float(student.ppf((1 + LEVEL) / 2, count - 1) * deviation / count**0.5)


@contextmanager
def noisy(network: nn.Module, scale: Scale, seed: int, draw: int) -> Iterator[None]:
    """Inside the block every quantized weight is mu + scale · eps; eps is a function of (seed, draw) and its place.

    So every level, unit and network of one architecture is given the same eps.
    """
    tensors = quantized_tensors(network)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(mixed_seed(seed, draw))
        noise = {id(t.gaussian): torch.randn_like(t.mu, memory_format=torch.contiguous_format) for t in tensors}
    with torch.no_grad(), replaced(network, lambda t: t.mu + scale(t) * noise[id(t.gaussian)]):
        yield


def scales(network: nn.Module, kind: str, level: float, sigma_of: nn.Module) -> Scale:
    """The standard deviation of every weight; learned sigmas are those of `sigma_of`, a network of the same tensors."""
    if kind == "absolute":
        return lambda tensor: torch.full_like(tensor.mu, level)
    if kind == "relative":
        return lambda tensor: level * tensor.mu.abs()
    sigmas = {tensor.name: tensor.gaussian.effective_sigma for tensor in quantized_tensors(sigma_of)}
    return lambda tensor: level * sigmas[tensor.name]


def compared(settings: EvaluateSettings) -> list[tuple[EvaluateSettings, Subject]]:
    """The runs given for comparison, each on its own images; raises what `subject_of` raises."""
    others = [replace(settings, run=run, artifact=None, data=None, data_root=None) for run in settings.compare]
    return [(other, subject_of(other)) for other in others]


def noise_curves(setup: Setup) -> list[NoisePoint]:
    """Every level of every unit: first the pretrained and the clustered network, then those of the runs to compare.

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
            scale = scales(network, kind, level, sigma_of)
            draws = []
            for draw in range(levels.draws):
                with noisy(network, scale, setup.settings.seed, draw):
                    draws.append(scores_of(network, setup.images, setup.on))
            yield NoisePoint(name, kind, level, draws)


def by_level(points: Sequence[NoisePoint]) -> Mapping[tuple[str, float], list[NoisePoint]]:
    """The points of all networks for each unit and level."""
    found: dict[tuple[str, float], list[NoisePoint]] = {}
    for point in points:
        found.setdefault((point.kind, point.level), []).append(point)
    return found
