"""Measure accuracy, confidence and uncertainty on corrupted test images."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from matplotlib.figure import Figure
from rich.table import Table
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional
from typing_extensions import override

from pwfn.evaluation.analyses.analysis import Analysis
from pwfn.evaluation.measure import ENSEMBLE, MEAN, Measured, Setup
from pwfn.evaluation.metrics import Answers, judge, summary
from pwfn.evaluation.plots import COLORS
from pwfn.evaluation.predict import LabeledImages, predict, predict_draws
from pwfn.evaluation.subject import CLUSTERED, PRETRAINED
from pwfn.evaluation.tables import Section, new_table
from pwfn.monitoring.plots import INK, save, tidy
from pwfn.randomness import mixed_seed
from pwfn.records.columns import csv_of
from pwfn.records.files import write_text

# (pixels from 0 to 1 [images, C, H, W], strength, seeds of the images) -> such pixels; each image by itself
Corrupt = Callable[[Tensor, float, list[int]], Tensor]


UNITS = {"noise": "of white", "blur": "of the height", "contrast": "left", "rotation": "degrees"}
Key = tuple[str, str]  # network, mode


class CorruptedTestImages(Analysis):
    """Measure the pretrained and the clustered network on images that were made worse, weakest first."""

    @property
    @override
    def wanted(self) -> bool:
        return bool(self.settings.corruptions.kinds)

    @override
    def run(self, setup: Setup, measured: Measured) -> Section:
        scores, folder = corrupted_scores(setup), setup.subject.folder
        keys = list(dict.fromkeys((one.network, one.mode) for one in scores))
        clean = {key: _clean(measured, key) for key in keys}
        headings = ("network", "weights", "corruption", "step", "strength", "confidence", *scores[0].figures)
        write_text(folder / "corruptions.csv", csv_of(headings, map(_csv_row, scores)))
        draw_corruptions(scores, clean, folder / "corruptions.png")
        return Section("corruptions", [asdict(one) for one in scores], (corruptions_table(scores, clean),))


def noise(pixels: Tensor, strength: float, seeds: list[int]) -> Tensor:
    """Add Gaussian noise of its own to each image, the same at every strength but for its size.

    Args:
        pixels: images [images, C, H, W] from 0 to 1, as for every corruption.
        strength: the standard deviation of the noise.
        seeds: the seed of each image.

    Returns:
        New images of the same shape, from 0 to 1.
    """
    made = []
    with torch.random.fork_rng(devices=[]):
        for image, seed in zip(pixels, seeds, strict=True):
            torch.manual_seed(seed)
            made.append(functional.gaussian_noise(image, sigma=strength, clip=True))
    return torch.stack(made)


def blur(pixels: Tensor, strength: float, _: list[int]) -> Tensor:
    """Blur by a Gaussian whose standard deviation is `strength` of the image's height; else as `noise`.

    The kernel is cut off at three standard deviations. Nothing is drawn.
    """
    sigma = strength * pixels.shape[-2]
    reach = min(math.ceil(3 * sigma), min(pixels.shape[-2:]) - 1)  # torch mirrors no more than the image has
    blurred: Tensor = functional.gaussian_blur(pixels, kernel_size=[2 * reach + 1] * 2, sigma=[sigma] * 2)
    return blurred


def contrast(pixels: Tensor, strength: float, _: list[int]) -> Tensor:
    """Leave the share `strength` of every pixel's distance to the image's mean gray; else as `noise`."""
    if pixels.shape[1] == 1:
        mean = pixels.mean(dim=(1, 2, 3), keepdim=True)
        return mean + strength * (pixels - mean)
    result: Tensor = functional.adjust_contrast(pixels, contrast_factor=strength)
    return result


def rotation(pixels: Tensor, strength: float, _: list[int]) -> Tensor:
    """Turn counter-clockwise by `strength` degrees, on black; else as `noise`."""
    turned: Tensor = functional.rotate(pixels, angle=strength, interpolation=InterpolationMode.BILINEAR, fill=0.0)
    return turned


CORRUPTIONS: dict[str, Corrupt] = {"noise": noise, "blur": blur, "contrast": contrast, "rotation": rotation}


class CorruptedImages:
    """Corrupt the images of a split after they were cropped and resized, and normalize them as before.

    Args:
        images: normalized ones of the split.
        corrupt: one of `CORRUPTIONS`.
        strength: in its unit.
        mean: of the normalization [C].
        std: of the normalization [C].
        seed: with an image's place, it decides what is drawn for it.
    """

    def __init__(
        self, images: LabeledImages, corrupt: Corrupt, strength: float, *, mean: Tensor, std: Tensor, seed: int
    ) -> None:
        self.images, self.corrupt, self.strength, self.seed = images, corrupt, strength, seed
        self.mean, self.std = mean[:, None, None], std[:, None, None]

    def __iter__(self) -> Iterator[Tensor]:
        first = 0
        for batch in self.images:
            seeds = [mixed_seed(self.seed, first + index) for index in range(len(batch))]
            first += len(batch)
            pixels = (batch * self.std + self.mean).clamp(0, 1)
            yield (self.corrupt(pixels, self.strength, seeds) - self.mean) / self.std


@dataclass(frozen=True)
class CorruptedScore:
    """Hold the figures of one network at one strength of one corruption.

    `strength` 0 stands for the images without a corruption.
    """

    network: str
    mode: str
    kind: str
    step: int
    strength: float
    figures: dict[str, float | None]
    confidence: float


def corrupted_scores(setup: Setup) -> list[CorruptedScore]:
    """Measure every strength of every kind, for the pretrained and the clustered network.

    The clustered one is measured as an ensemble too, where its sigmas were learned.
    """
    config, seed = setup.subject.data.config, setup.settings.seed
    mean, std = torch.tensor(config["mean"]), torch.tensor(config["std"])
    found = []
    for name in (PRETRAINED, CLUSTERED):
        if name not in setup.subject.networks:
            continue
        network = setup.network(name)
        with_ensemble = name in setup.subject.learned and setup.settings.samples > 0
        for kind in setup.settings.corruptions.kinds:
            strengths = getattr(setup.settings.corruptions, kind)
            for step, strength in enumerate(strengths, start=1):
                setup.say(f"{name}: {kind}, strength {step} of {len(strengths)}")
                images = CorruptedImages(setup.images, CORRUPTIONS[kind], strength, mean=mean, std=std, seed=seed)
                labels = torch.cat(setup.images.labels)
                modes = {MEAN: judge(predict(network, images, setup.on), labels)}
                if with_ensemble:
                    samples = setup.settings.samples
                    together = predict_draws(network, images, setup.on, samples=samples, seed=seed)[1]
                    modes[ENSEMBLE] = judge(together, labels)
                found += [_score(setup, name, mode, kind, step, strength, one) for mode, one in modes.items()]
    return found


def _score(
    setup: Setup, network: str, mode: str, kind: str, step: int, strength: float, answers: Answers
) -> CorruptedScore:
    figures = summary(answers, setup.settings.bins)
    return CorruptedScore(network, mode, kind, step, strength, figures, float(100 * answers.confidence.mean()))


def _clean(measured: Measured, key: Key) -> CorruptedScore:
    row = measured.row(*key)
    return CorruptedScore(*key, "none", 0, 0.0, row.figures, float(100 * row.answers.confidence.mean()))


def _csv_row(one: CorruptedScore) -> list[object]:
    figures = ("" if value is None else value for value in one.figures.values())
    return [one.network, one.mode, one.kind, one.step, one.strength, one.confidence, *figures]


def corruptions_table(scores: Sequence[CorruptedScore], clean: dict[Key, CorruptedScore]) -> Table:
    """Return a table with a row for each strength.

    The cells are top1 and mean confidence of each network, and the mutual information of the ensemble.
    """
    headings = [f"{network}\n{mode}" for network, mode in clean]
    table = new_table("corruption", "", *headings, "mutual\nnats", left=1, title="top1 % (confidence %)")
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
    """Draw accuracy (lines) and mean confidence (circles) over the strength, as a PNG.

    A network is overconfident where its circles are above its line.

    Args:
        scores: every network at every strength.
        clean: the same networks on the images without a corruption.
        path: the file to write.
    """
    kinds = list(dict.fromkeys(one.kind for one in scores))
    figure = Figure(figsize=(2.9 * len(kinds) + 1.0, 4.2), dpi=150, layout="constrained")
    panels = figure.subplots(1, len(kinds), sharey=True, squeeze=False)[0]
    for axes, kind in zip(panels, kinds, strict=True):
        for key, start in clean.items():
            here = [start, *(one for one in scores if (one.network, one.mode, one.kind) == (*key, kind))]
            steps, color = [one.step for one in here], "#007A5A" if key[1] == "ensemble" else COLORS[key[0]]
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
