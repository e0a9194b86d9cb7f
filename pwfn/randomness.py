"""Seed the random streams of a run and of each rank, and save and restore their state."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def seed_run(seed: int) -> None:
    """Seed every rank alike, for a network that is the same on every rank."""
    from pytorch_lightning import seed_everything  # takes seconds, and only runs need it

    seed_everything(seed, workers=True, verbose=False)
    # With it, Lightning's DDP would go back to this state, the same on all ranks, at the start of every fit and test.
    os.environ.pop("PL_GLOBAL_SEED", None)


def seed_rank(seed: int, rank: int, *more: int) -> None:
    """Seed Python, numpy and torch, for each rank differently, so that each draws its own noise.

    Args:
        seed: of the run.
        rank: of this process.
        *more: further numbers that the streams are to depend on.
    """
    numbers = np.random.SeedSequence([seed, rank, *more]).generate_state(3)
    random.seed(int(numbers[0]))
    np.random.seed(int(numbers[1]))
    torch.manual_seed(int(numbers[2]))


def random_state() -> dict[str, Any]:
    """Return the state of every global random stream of this process, as numbers, lists and tensors."""
    drawn: Any = np.random.get_state()
    _, keys, position, has_gauss, gauss = drawn
    return {
        "python": random.getstate(),
        "numpy": [keys.tolist(), int(position), int(has_gauss), float(gauss)],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,  # of this rank's own device
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Restore the state that `random_state` returned."""
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    keys, *rest = state["numpy"]
    np.random.set_state(("MT19937", np.array(keys, dtype=np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])


def mixed_seed(*seeds: int) -> int:
    """Mix several seeds into one, from 0 to 2^63 - 1."""
    return int(np.random.SeedSequence(seeds).generate_state(1, np.uint64)[0] >> 1)


@contextmanager
def own_streams() -> Iterator[None]:
    """Restore the global streams (for torch, that of the CPU) at the end of the block."""
    # Not torch.manual_seed, nor its fork_rng: they reach for the GPU's streams as well.
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.set_rng_state(before[2])


def seed_streams(*seeds: int) -> None:
    """Seed the three global streams of the CPU from all `seeds` together; use it inside `own_streams`."""
    words = np.random.SeedSequence(seeds).generate_state(3)
    random.seed(int(words[0]))
    np.random.seed(words[1])
    torch.default_generator.manual_seed(int(words[2]))
