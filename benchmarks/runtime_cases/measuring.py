"""Measure a runtime: its memory, its time and the distance of its logits from torch's."""

from __future__ import annotations

import gc
import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

import pwfn

T = TypeVar("T")
Row = dict[str, Any]
Run = Callable[[Tensor], Any]
TIMES = 5


def packed_network(path: Path) -> nn.Module:
    """Return the network whose layers look their weights up."""
    return pwfn.load(path, packed=True)


def images_of(path: Path, batch: int = 1) -> Tensor:
    """Return random images of the model's size."""
    size = pwfn.describe(path)["data"]["input_size"]
    return torch.randn(batch, *size, generator=torch.Generator().manual_seed(batch))


def megabytes(path: Path) -> float:
    """Return the size of a file, or of all files of a folder."""
    return sum(one.stat().st_size for one in (path.rglob("*") if path.is_dir() else [path]) if one.is_file()) / 1e6


def resident() -> float:
    """Return the megabytes that this process holds."""
    gc.collect()
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmRSS:"))


def elsewhere(function: Callable[..., T], *arguments: Any) -> T:
    """Call a function in a process of its own, which takes its memory with it."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def compared(path: Path, start: Callable[[], Run], batches: tuple[int, ...] = (1,)) -> Row:
    """Measure a model: memory, time at the first and last batch, distance of its logits from torch's."""
    cases = [images_of(path, batch) for batch in batches]
    before = resident()
    run = start()
    row: Row = {"MB, loaded": resident() - before}
    found = []
    for batch, images in zip(batches, cases, strict=True):
        found.append(torch.as_tensor(np.asarray(run(images))))
        if batch in (batches[0], batches[-1]):
            row[f"MB, after batch {batch}"] = resident() - before
            row[f"ms an image, batch {batch}"] = min(1000 * seconds(run, images) for _ in range(TIMES)) / batch
    dense = pwfn.load(path)
    with torch.no_grad():
        distances = [float((one - dense(images)).abs().max()) for one, images in zip(found, cases, strict=True)]
    return {**row, "logits within": max(distances)}


def seconds(run: Run, images: Tensor) -> float:
    """Return how long one run takes."""
    began = time.perf_counter()
    run(images)
    return time.perf_counter() - began
