"""One seed for a whole run: the same network on every rank, noise of its own for each."""

from __future__ import annotations

import os
import random

import numpy as np
import torch
from pytorch_lightning import seed_everything


def seed_run(seed: int) -> None:
    """The same random state on every rank, for a network that is the same on every rank."""
    seed_everything(seed, workers=True, verbose=False)
    # With it, Lightning's DDP would go back to this state, the same on all ranks, at the start of every fit and test.
    os.environ.pop("PL_GLOBAL_SEED", None)


def seed_rank(seed: int, rank: int) -> None:
    """A random state of its own for each rank of several: each draws its own noise."""
    numbers = np.random.SeedSequence([seed, rank]).generate_state(3)
    random.seed(int(numbers[0]))
    np.random.seed(int(numbers[1]))
    torch.manual_seed(int(numbers[2]))
