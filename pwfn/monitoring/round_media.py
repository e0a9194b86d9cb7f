"""What a round looks like beside its numbers: histograms of all weights, the codebook as rows and as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pwfn.bayesian.prior import MIN_SIGMA
from pwfn.clustering.chunking import chunks, in_one_thread
from pwfn.clustering.cluster_result import ClusterResult
from pwfn.monitoring.plots import codebook_figure, pixels

BINS = 256


@dataclass(frozen=True)
class Histogram:
    """`edges` are one more than `counts`, equally far apart."""

    counts: list[int]
    edges: list[float]


@dataclass(frozen=True)
class RoundView:
    """`histograms` and `picture` (uint8 [height, width, 3]) by the keys of `pwfn.records.metric_names.ROUND_VIEW`; rows as in clusters.csv."""

    histograms: Mapping[str, Histogram]
    clusters: Sequence[Mapping[str, Any]]
    picture: NDArray[np.uint8]


@in_one_thread()
def round_view(start: Tensor, result: ClusterResult, clusters: Sequence[Mapping[str, Any]]) -> RoundView:
    """Of a clustering; `start` are the means before the first round, on the CPU."""
    mu, sigma = result.mu.cpu(), result.sigma.cpu()
    reach = float(mu.abs().max())
    parts = chunks(mu.numel())
    far = max(float((mu[part] - start[part]).abs().max()) for part in parts)
    lowest = float(np.log2(MIN_SIGMA))
    highest = max(lowest + 1, float(np.ceil(np.log2(max(float(sigma.max()), MIN_SIGMA)))))
    histograms = {
        "histogram/mu": _histogram((mu[part] for part in parts), -reach, reach),
        "histogram/sigma": _histogram((sigma[part].clamp(min=MIN_SIGMA).log2() for part in parts), lowest, highest),
        "histogram/displacement": _histogram(((mu[part] - start[part]).abs() for part in parts), 0.0, far),
    }
    return RoundView(histograms, clusters, pixels(codebook_figure(clusters)))


def _histogram(pieces: Any, low: float, high: float) -> Histogram:
    """All values lie from `low` to `high`, the last bin includes its upper edge."""
    if high <= low:
        high = low + 1.0
    counts = torch.zeros(BINS, dtype=torch.int64)
    for piece in pieces:
        counts += torch.histc(piece.float().clamp(low, high), BINS, low, high).to(torch.int64)
    return Histogram(counts.tolist(), np.linspace(low, high, BINS + 1).tolist())
