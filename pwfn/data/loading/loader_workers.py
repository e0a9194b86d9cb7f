"""Prepare the processes that read images for a run."""

from __future__ import annotations

import signal

import torch

from pwfn.randomness import mixed_seed

# What a terminal or a scheduler sends to every process of a run. SIGTERM is missing: it is how torch ends a worker.
_OF_THE_RUN = ("SIGINT", "SIGHUP", "SIGUSR1", "SIGUSR2")


def leave_signals_to_the_run(worker: int) -> None:
    """Ignore in a worker what asks the run to save and stop: it still needs images until then.

    Args:
        worker: its number, which torch gives.
    """
    del worker
    for name in _OF_THE_RUN:
        if (number := getattr(signal, name, None)) is not None:  # Windows has only the first
            signal.signal(number, signal.SIG_IGN)


def worker_generator(seeds: tuple[int, ...]) -> torch.Generator:
    """Make the generator that a loader seeds its workers from.

    Without one, a loader takes a number from the global stream each time it is iterated, and an evaluation more or
    less would shift the noise of the weights.
    """
    return torch.Generator().manual_seed(mixed_seed(*seeds))
