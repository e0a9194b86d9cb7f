"""Test images made worse: what is left of accuracy, and whether confidence and uncertainty notice."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional

from pwfn.evaluation.measure import ENSEMBLE, MEAN, Setup
from pwfn.evaluation.metrics import Answers, judge, summary
from pwfn.evaluation.predict import LabeledImages, predict, predict_draws
from pwfn.evaluation.subject import CLUSTERED, PRETRAINED
from pwfn.randomness import mixed_seed

# (pixels from 0 to 1 [images, C, H, W], strength, seeds of the images) -> such pixels; each image by itself
Corrupt = Callable[[Tensor, float, list[int]], Tensor]


def noise(pixels: Tensor, strength: float, seeds: list[int]) -> Tensor:
    """Gaussian noise of its own for each image, the same at every strength but for its size."""
    made = []
    with torch.random.fork_rng(devices=[]):
        for image, seed in zip(pixels, seeds, strict=True):
            torch.manual_seed(seed)
            made.append(functional.gaussian_noise(image, sigma=strength, clip=True))
    return torch.stack(made)


def blur(pixels: Tensor, strength: float, seeds: list[int]) -> Tensor:
    """A Gaussian blur whose standard deviation is `strength` of the image's height, cut off at three of them."""
    sigma = strength * pixels.shape[-2]
    reach = min(math.ceil(3 * sigma), min(pixels.shape[-2:]) - 1)  # torch mirrors no more than the image has
    blurred: Tensor = functional.gaussian_blur(pixels, kernel_size=[2 * reach + 1] * 2, sigma=[sigma] * 2)
    return blurred


def contrast(pixels: Tensor, strength: float, seeds: list[int]) -> Tensor:
    """So much of every pixel's distance to the image's mean gray is left."""
    if pixels.shape[1] == 1:
        mean = pixels.mean(dim=(1, 2, 3), keepdim=True)
        return mean + strength * (pixels - mean)
    result: Tensor = functional.adjust_contrast(pixels, contrast_factor=strength)
    return result


def rotation(pixels: Tensor, strength: float, seeds: list[int]) -> Tensor:
    """Turned counter-clockwise by `strength` degrees, on black."""
    turned: Tensor = functional.rotate(pixels, angle=strength, interpolation=InterpolationMode.BILINEAR, fill=0.0)
    return turned


CORRUPTIONS: dict[str, Corrupt] = {"noise": noise, "blur": blur, "contrast": contrast, "rotation": rotation}


class CorruptedImages:
    """The images of a split, corrupted after they were cropped and resized, and normalized as before."""

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
    """One network on the test images at one strength of one corruption; `strength` 0 are the images as they are."""

    network: str
    mode: str
    kind: str
    step: int
    strength: float
    figures: dict[str, float | None]
    confidence: float


def corrupted_scores(setup: Setup) -> list[CorruptedScore]:
    """Every strength of every kind, for the pretrained and the clustered network, the latter as an ensemble too."""
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
