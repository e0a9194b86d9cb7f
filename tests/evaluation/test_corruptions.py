"""Corrupted test images, each against a slow version of it, and the figures on them against a loop."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.image import imread
from scipy.ndimage import gaussian_filter, rotate

from pwfn.evaluation.analyses.corruptions import (
    CORRUPTIONS,
    CorruptedImages,
    CorruptedTestImages,
    blur,
    contrast,
    noise,
    rotation,
)
from pwfn.evaluation.find_subject import subject_of
from pwfn.evaluation.measure import Setup, measure
from pwfn.evaluation.predict import LabeledImages
from pwfn.evaluation.settings import Corruptions
from pwfn.randomness import mixed_seed
from pwfn.run.start import Finished
from tests.support.evaluation import settings

PIXELS = torch.rand(3, 3, 40, 40, generator=torch.Generator().manual_seed(0))
SEEDS = [1, 2, 3]


def test_noise_is_gaussian_and_of_each_image_alone() -> None:
    gray = torch.full((2, 3, 200, 200), 0.5)
    made = noise(gray, 0.05, [1, 2])
    deviation = (made - gray).double()
    assert abs(deviation.std() - 0.05) < 0.0005
    assert abs(deviation.mean()) < 0.001
    assert torch.equal(noise(gray[1:], 0.05, [2]), made[1:])
    strong = noise(gray, 0.1, [1, 2]) - gray
    torch.testing.assert_close(strong, 2 * (made - gray), rtol=1e-3, atol=1e-5)
    assert noise(torch.ones(1, 1, 4, 4), 0.2, [0]).max() == 1.0


def test_blur_is_that_of_scipy() -> None:
    made = blur(PIXELS, 0.05, SEEDS)  # sigma 2 pixels, cut off at 6
    expected = gaussian_filter(PIXELS.double().numpy(), 2.0, mode="mirror", radius=6, axes=(2, 3))
    np.testing.assert_allclose(made.numpy(), expected, atol=1e-5)


def test_contrast_leaves_a_share_of_the_distance_to_the_mean() -> None:
    for pixels in (PIXELS, PIXELS[:, :1]):
        made = contrast(pixels, 0.3, SEEDS)
        weights = torch.tensor([0.2989, 0.587, 0.114])[:, None, None] if pixels.shape[1] == 3 else torch.ones(1, 1, 1)
        for image, was in zip(made, pixels, strict=True):
            mean = (was * weights).sum(0).mean()
            torch.testing.assert_close(image, (mean + 0.3 * (was - mean)).clamp(0, 1), rtol=1e-4, atol=1e-5)


def test_rotation_is_counter_clockwise() -> None:
    made = rotation(PIXELS, 90.0, SEEDS)
    torch.testing.assert_close(made, torch.rot90(PIXELS, 1, dims=(2, 3)), rtol=1e-4, atol=1e-4)
    slow = rotate(PIXELS[0, 0].double().numpy(), 20, reshape=False, order=1, mode="grid-constant")
    inside = (slice(7, 33), slice(7, 33))  # where nothing comes in; at the border torchvision blends with black twice
    np.testing.assert_allclose(rotation(PIXELS, 20.0, SEEDS)[0, 0].numpy()[inside], slow[inside], atol=1e-4)


def test_images_are_corrupted_before_they_are_normalized_whatever_the_batches() -> None:
    mean, std = torch.tensor([0.3, 0.4, 0.5]), torch.tensor([0.2, 0.2, 0.3])
    normal = (PIXELS - mean[:, None, None]) / std[:, None, None]
    labels = torch.tensor([0, 1, 2])
    for kind, corrupt in CORRUPTIONS.items():
        expected = corrupt(PIXELS, 0.1, [mixed_seed(4, i) for i in range(3)])
        for size in (3, 2):
            batches = LabeledImages(list(zip(normal.split(size), labels.split(size), strict=True)))
            made = torch.cat(list(CorruptedImages(batches, corrupt, 0.1, mean=mean, std=std, seed=4)))
            pixels = made * std[:, None, None] + mean[:, None, None]
            torch.testing.assert_close(pixels, expected, rtol=1e-4, atol=1e-5, msg=kind)


@pytest.mark.slow
def test_the_table_is_that_of_a_loop(finished_run: Finished, tmp_path: Path) -> None:
    chosen = Corruptions(("noise", "rotation"), (0.1, 0.3), (), (), (30.0,))
    one = settings(run=str(finished_run.folder), corruptions=chosen, samples=2, output=str(tmp_path))
    setup = Setup.of(one, subject_of(one))
    measured = measure(setup)
    section = CorruptedTestImages(one).run(setup, measured)
    with (tmp_path / "corruptions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 * 3 == len(section.content)
    assert json.dumps(section.content)
    network = setup.network("clustered")
    data = setup.subject.data
    mean, std = (torch.tensor(data.config[key])[:, None, None] for key in ("mean", "std"))
    right, sure, count = 0, 0.0, 0
    with torch.no_grad():
        for images, labels in data.test_dataloader():
            for image, label in zip(images, labels, strict=True):
                pixels = noise((image * std + mean)[None].clamp(0, 1), 0.3, [mixed_seed(0, count)])
                said = network((pixels - mean) / std).double().softmax(1)[0]
                right += int(said.argmax() == label)
                sure += said.max().item()
                count += 1
    (row,) = (
        r
        for r in rows
        if (r["network"], r["weights"], r["corruption"], r["step"]) == ("clustered", "mean", "noise", "2")
    )
    assert float(row["top1"]) == pytest.approx(100 * right / count, rel=1e-12)
    assert float(row["confidence"]) == pytest.approx(100 * sure / count, rel=1e-3)
    ensemble = [r for r in rows if r["weights"] == "ensemble"]
    assert len(ensemble) == 3
    assert all(float(r["mutual_information"]) >= 0 for r in ensemble)
    assert np.asarray(imread(tmp_path / "corruptions.png")).shape[:2] == (630, 1020)


@pytest.mark.parametrize(
    ("change", "said"),
    [({"blur": (0.6,)}, "blur"), ({"contrast": (1.0,)}, "contrast"), ({"kinds": ("noise", "noise")}, "kinds")],
)
def test_strengths_out_of_range_are_refused(change: dict[str, tuple[object, ...]], said: str) -> None:
    right = {"kinds": ("noise",), "noise": (0.1,), "blur": (0.1,), "contrast": (0.1,), "rotation": (1.0,)}
    with pytest.raises(ValueError, match=f"^{said} = "):
        Corruptions(**{**right, **change})  # type: ignore[arg-type]
