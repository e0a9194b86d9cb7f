"""Measure what feeding `data=imagenet` costs a CPU: the figures of docs/scaling.md.

    python benchmarks/loader.py [--images 200] [--pixels 224] [--epochs 3] [--json outputs/benchmark_loader.json]

Photographs are stood in for by JPEG files of 500 x 375 pixels with the spectrum of photographs, about 110 kB each. CPU
time of one thread for each stage, for an image; as many milliseconds are as many cores for 1,000 images a second.

A second table compares the options of the loader: two processes feed steps that take as long as a batch does to be
made (they sleep), of 16 images. `waited` is the share of the epoch in which a step waits for images after its first;
`first` the seconds until the first batch of a later epoch is there.
"""

from __future__ import annotations

import argparse
import json
import statistics
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

from pwfn.data import ImageFolder
from pwfn.data.augment import TimmAugment, build_transforms
from pwfn.data.files.file_images import FileImages
from pwfn.data.loading.device_batches import Normalization
from pwfn.data.loading.feed import Transformed
from pwfn.data.module import ImageDataModule
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


def written(folder: Path, count: int) -> list[str]:
    """Write the files of two classes, and a few to test on; return those of training."""
    numbers, paths = np.random.default_rng(0), []
    for split, images in (("train", count), ("val", 2)):
        for label in ("first", "second"):
            (folder / split / label).mkdir(parents=True)
        for number in range(images):
            path = folder / split / ("first", "second")[number % 2] / f"{number}.jpg"
            photograph(numbers).save(path, quality=QUALITY)
            if split == "train":
                paths.append(str(path))
    return paths


def stages(paths: list[str], pixels: int) -> dict[str, float]:
    """Measure each stage, and a whole image of training and of evaluation."""
    count = len(paths)
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
    as_bytes = Transformed(files, build_transforms(TimmAugment(), config | {"normalize": False})[0], 0)
    found["whole training image as bytes, augment=timm"] = milliseconds(
        lambda: [as_bytes[i] for i in range(count)], count
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
    pixels_alone = [(transforms.functional.pil_to_tensor(c), 0) for c in cropped]
    found["put a batch of bytes together instead"] = milliseconds(lambda: default_collate(pixels_alone), len(batch))
    images, normalization = default_collate(pixels_alone)[0], Normalization.of(config)
    found["normalize a batch of bytes, where there is no GPU"] = milliseconds(lambda: normalization(images), len(batch))
    return found


OPTIONS: tuple[dict[str, Any], ...] = (
    *({"prefetch_factor": count} for count in (1, 2, 4, 8)),
    {"persistent_workers": False},
    {"normalize_on_device": True},
)


def options(folder: Path, pixels: int, epochs: int) -> dict[str, dict[str, float]]:
    """Measure the options of the loader, in turn, after an epoch of each that starts its processes."""
    model = timm.create_model(MODEL)
    config = timm.data.resolve_data_config({}, model=model)
    loaders = {}
    for changed in OPTIONS:
        given: dict[str, Any] = {"batch_size": 16, "num_workers": 2, "augment": TimmAugment(), "image_size": pixels}
        data = ImageDataModule(ImageFolder(root=str(folder), check=False, **given, **changed), config, 0)
        loaders[", ".join(f"{name}={value}" for name, value in changed.items())] = data.train_dataloader()
    pause = statistics.median(_epoch(loader, 0.0)[2] for loader in loaders.values())
    measured: dict[str, list[tuple[float, ...]]] = {name: [] for name in loaders}
    for _ in range(epochs):
        for name, loader in loaders.items():
            measured[name].append(_epoch(loader, pause))
    return {
        name: {"waited": statistics.median(row[0] for row in rows), "first": statistics.median(row[1] for row in rows)}
        for name, rows in measured.items()
    }


def _epoch(loader: Any, pause: float) -> tuple[float, float, float]:
    """Measure the share of an epoch spent waiting for images, and the seconds to each batch."""
    started = time.perf_counter()
    batches = iter(loader)
    next(batches)
    first, waited, count = time.perf_counter() - started, 0.0, 0
    while True:
        time.sleep(pause)
        asked = time.perf_counter()
        if next(batches, None) is None:
            break
        waited += time.perf_counter() - asked
        count += 1
    whole = time.perf_counter() - started - first
    return waited / whole, first, whole / max(count, 1)


def main() -> None:
    """Measure, print the table, write it to a file."""
    parser = argparse.ArgumentParser(description="What feeding data=imagenet costs a CPU.")
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--pixels", type=int, default=224)
    parser.add_argument("--epochs", type=int, default=3, help="of each option of the loader")
    parser.add_argument("--json", type=Path, default=Path("outputs/benchmark_loader.json"))
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        paths = written(Path(scratch), chosen.images)
        found = stages(paths, chosen.pixels)
        found["kilobytes of a file"] = sum(Path(path).stat().st_size for path in paths) / len(paths) / 1000
        compared = options(Path(scratch), chosen.pixels, chosen.epochs)
    console = Console(width=120)
    shown = Table(title=f"CPU milliseconds for an image of {chosen.pixels} pixels", title_justify="left")
    for heading in ("stage", "ms"):
        shown.add_column(heading)
    for stage, value in found.items():
        shown.add_row(stage, f"{value:.2f}")
    console.print(shown)
    shown = Table(title="Options of the loader, two processes", title_justify="left")
    for heading in ("option", "waited, %", "first batch, s"):
        shown.add_column(heading)
    for option, row in compared.items():
        shown.add_row(option, f"{100 * row['waited']:.1f}", f"{row['first']:.3f}")
    console.print(shown)
    chosen.json.parent.mkdir(parents=True, exist_ok=True)
    chosen.json.write_text(json.dumps({"stages": found, "options": compared}, indent=1) + "\n")


if __name__ == "__main__":
    main()
