"""Records of rounds in which no two numbers are equal, and what a logger is shown with them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from pwfn.monitoring.loggers.round_media import Histogram, RoundView
from pwfn.records.rounds import RoundRecord, Scores

BASELINE = Scores(top1=98.89, top5=99.97, loss=0.0412)


def record(number: int = 0, **changes: Any) -> RoundRecord:
    """A record in which no two numbers are equal, so that a swapped pair shows."""
    first = RoundRecord(
        round=number,
        fraction=(0.2, 0.4, 0.6, 0.7, 0.8, 0.9, 0.95, 0.975, 0.99, 1.0)[number],
        epochs=1.05 + 3 * number,
        steps=70 + number,
        codebook_size=93 + number,
        unique_weights=9_011_167 - number,
        entropy_bits=18.123456789012345 - number,
        trained=Scores(top1=99.31, top5=99.91, loss=0.031),
        clustered=Scores(top1=98.17, top5=99.83, loss=1 / 3),
        threshold=1.5,
        order_share=(0.11, 0.12, 0.13, 0.14, 0.15),
        sigma_mean=0.021,
        sigma_median=0.022,
        sigma_max=0.05,
        moved=1234 * number,
        train_seconds=12.5,
        cluster_seconds=0.75,
    )
    return replace(first, **changes)


def cluster(value: float) -> dict[str, float | int]:
    return {"value": value, "order": 1, "count": 17, "mu_std": 0.001, "sigma_mean": 0.02, "sigma_max": 0.05}


def view() -> RoundView:
    """What a logger is shown of a round: a histogram, two clusters, a picture."""
    bars = Histogram([0, 0, 3, 1], [-1.0, -0.5, 0.0, 0.5, 1.0])
    rows = [cluster(-0.5), cluster(0.25)]
    return RoundView({"histogram/mu": bars}, rows, np.zeros((4, 5, 3), dtype=np.uint8))
