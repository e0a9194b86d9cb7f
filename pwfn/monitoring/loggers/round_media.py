"""Make histograms of all weights and a picture of the codebook, for loggers that take them."""

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
from pwfn.records.rounds import CLUSTER_COLUMNS

BINS = 256


@dataclass(frozen=True)
class Histogram:
    """Hold the `counts` of bins between `edges`, which are one more and equally far apart."""

    counts: list[int]
    edges: list[float]


@dataclass(frozen=True)
class RoundView:
    """Hold what a round looks like; the keys are those of `pwfn.records.metric_names.ROUND_VIEW`.

    Args:
        histograms: by their keys.
        clusters: rows of clusters.csv.
        picture: the codebook, uint8 [height, width, 3].
    """

    histograms: Mapping[str, Histogram]
    clusters: Sequence[Mapping[str, Any]]
    picture: NDArray[np.uint8]

    @property
    def table(self) -> dict[str, list[Any]]:
        """Return the columns of the clusters, but for the round, by their keys: a value for each centroid."""
        columns = [column for key, column in CLUSTER_COLUMNS.items() if key != "round"]
        return {column.key: [column.convert(row[column.key]) for row in self.clusters] for column in columns}


@in_one_thread()
def round_view(start: Tensor, result: ClusterResult, clusters: Sequence[Mapping[str, Any]]) -> RoundView:
    """Make the view of one clustering.

    Args:
        start: means of all quantized weights before the first round, flat, on the CPU.
        result: of the clustering of the same weights.
        clusters: rows of clusters.csv.

    Returns:
        Histograms, the rows and a picture of the codebook.
    """
    mu, sigma = result.mu.cpu(), result.sigma.cpu()
    reach = float(mu.abs().max())
    pieces = chunks(mu.numel())
    far = max(float((mu[piece] - start[piece]).abs().max()) for piece in pieces)
    lowest = float(np.log2(MIN_SIGMA))
    highest = max(lowest + 1, float(np.ceil(np.log2(max(float(sigma.max()), MIN_SIGMA)))))
    histograms = {
        "histogram/mu": _histogram((mu[piece] for piece in pieces), -reach, reach),
        "histogram/sigma": _histogram((sigma[piece].clamp(min=MIN_SIGMA).log2() for piece in pieces), lowest, highest),
        "histogram/displacement": _histogram(((mu[piece] - start[piece]).abs() for piece in pieces), 0.0, far),
    }
    return RoundView(histograms, clusters, pixels(codebook_figure(clusters)))


def _histogram(pieces: Any, low: float, high: float) -> Histogram:
    """Count values, which lie from `low` to `high`; the last bin includes its upper edge."""
    if high <= low:
        high = low + 1.0
    counts = torch.zeros(BINS, dtype=torch.int64)
    for piece in pieces:
        counts += torch.histc(piece.float().clamp(low, high), BINS, low, high).to(torch.int64)
    return Histogram(counts.tolist(), np.linspace(low, high, BINS + 1).tolist())
