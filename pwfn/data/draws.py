"""Random streams for one image at a time, so that its augmentation depends on nothing that came before it.

torchvision and timm draw from the global streams of torch, numpy and Python. Seeded per image, they give the same
augmentation with any number of workers and in a run that was resumed; and the noise of the weights, which comes from
torch's global stream too, is left as it was.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def own_streams() -> Iterator[None]:
    """Afterwards the global streams (that of the CPU, for torch) go on as if nobody had seeded or drawn inside."""
    # Not torch.manual_seed, nor its fork_rng: they reach for the GPU's streams as well.
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.set_rng_state(before[2])


def seed_streams(*seeds: int) -> None:
    """Seed the three global streams of the CPU from `seeds` together; to be used inside `own_streams`."""
    words = np.random.SeedSequence(seeds).generate_state(3)
    random.seed(int(words[0]))
    np.random.seed(words[1])
    torch.default_generator.manual_seed(int(words[2]))
