"""Measure what feeding `data=imagenet` costs a CPU: the figures of docs/scaling.md.

    python benchmarks/loader.py [--images 200] [--pixels 224] [--json outputs/benchmark_loader.json]

Photographs are stood in for by JPEG files of 500 x 375 pixels with the spectrum of photographs, about 110 kB each. CPU
time of one thread for each stage, for an image; as many milliseconds are as many cores for 1,000 images a second.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # this tree's pwfn

import numpy as np
import timm.data
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch.utils.data import default_collate
from torchvision import transforms

from pwfn.data.augment import TimmAugment, build_transforms
from pwfn.data.feed import Transformed
from pwfn.data.images import FileImages
from pwfn.data.transforms import transform_config

MODEL = "deit_tiny_patch16_224"
SIZE = (375, 500)
QUALITY = 90
BATCH = 64


def photograph(numbers: np.random.Generator) -> Image.Image:
    """Make an image whose amplitudes fall with 1 / frequency."""
    rows, columns = np.fft.fftfreq(SIZE[0])[:, None], np.fft.rfftfreq(SIZE[1])[None]
    frequency = np.maximum(np.hypot(rows, columns), 1 / max(SIZE))
    layers = []
    for _ in range(3):
        spectrum = numbers.standard_normal(frequency.shape) + 1j * numbers.standard_normal(frequency.shape)
        layer = np.fft.irfft2(spectrum / frequency, SIZE)
        layers.append(128 + 50 * layer / layer.std())
    return Image.fromarray(np.clip(np.stack(layers, -1), 0, 255).astype(np.uint8))


def milliseconds(work: Callable[[], Any], images: int) -> float:
    """Return the CPU time of `work` for each of so many images; the least of three."""
    taken = []
    for _ in range(3):
        started = time.process_time()
        work()
        taken.append(time.process_time() - started)
    return 1000 * min(taken) / images


def stages(folder: Path, count: int, pixels: int) -> dict[str, float]:
    """Measure each stage, and a whole image of training and of evaluation."""
    numbers, paths = np.random.default_rng(0), []
    for number in range(count):
        paths.append(str(folder / f"{number}.jpg"))
        photograph(numbers).save(paths[-1], quality=QUALITY)
    files = FileImages(paths, np.zeros(count, np.int64))
    model = timm.create_model(MODEL)
    config = transform_config(timm.data.resolve_data_config({}, model=model), 3, pixels)
    rich = TimmAugment(auto_augment="rand-m9-mstd0.5-inc1", re_prob=0.25)
    whole = {"augment=timm": TimmAugment(), "augment=timm with RandAugment and erasing": rich}
    found = {"read and decode": milliseconds(lambda: [files[i] for i in range(count)], count)}
    for name, augment in whole.items():
        images = Transformed(files, build_transforms(augment, config)[0], 0)
        found[f"whole training image, {name}"] = milliseconds(
            lambda images=images: [images[i] for i in range(count)], count
        )
    evaluated = Transformed(files, build_transforms(TimmAugment(), config)[1], 0)
    found["whole evaluation image"] = milliseconds(lambda: [evaluated[i] for i in range(count)], count)
    batch = [evaluated[i] for i in range(min(count, BATCH))]
    found["put a batch together"] = milliseconds(lambda: default_collate(batch), len(batch))
    cropped = [transforms.functional.to_pil_image((image * 40 + 128).clamp(0, 255).byte()) for image, _ in batch]
    to_float = transforms.Compose([transforms.ToTensor(), transforms.Normalize(config["mean"], config["std"])])
    found["of it, numbers to float32 and normalize"] = milliseconds(
        lambda: [to_float(c) for c in cropped], len(cropped)
    )
    as_bytes = [(transforms.functional.pil_to_tensor(c), 0) for c in cropped]
    found["put a batch of bytes together instead"] = milliseconds(lambda: default_collate(as_bytes), len(as_bytes))
    found["kilobytes of a file"] = sum(Path(path).stat().st_size for path in paths) / count / 1000
    return found


def main() -> None:
    """Measure, print the table, write it to a file."""
    parser = argparse.ArgumentParser(description="What feeding data=imagenet costs a CPU.")
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--pixels", type=int, default=224)
    parser.add_argument("--json", type=Path, default=Path("outputs/benchmark_loader.json"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        found = stages(Path(scratch), options.images, options.pixels)
    shown = Table(title=f"CPU milliseconds for an image of {options.pixels} pixels", title_justify="left")
    for heading in ("stage", "ms"):
        shown.add_column(heading)
    for stage, value in found.items():
        shown.add_row(stage, f"{value:.2f}")
    Console(width=120).print(shown)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
