"""Sum up many weights as not too many bins of neighbors, fine enough to make a codebook of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pwfn.clustering.chunking import CHUNK

Floats = NDArray[np.float64]
MOST_BINS = 1 << 16


@dataclass(frozen=True)
class WeightBins:
    """Sort weights into ascending bins.

    Sums over the weights, and so means of any neighboring bins together, are exact to rounding.

    Attributes:
        means: Mean of the members of each bin, float64 [bins].
        counts: Number of its members, float64 [bins], at least 1.
    """

    means: Floats
    counts: Floats

    @classmethod
    def of(cls, mu: Tensor, most: int = MOST_BINS) -> WeightBins:
        """Return a bin for each distinct value of at most `most` weights; of more, `most` equal bins.

        The bins are equally wide. The outermost weights, a 64th of `most` on either side, have bins of their own: a
        few huge ones would otherwise leave all others in one.
        """
        mu = mu.detach() + 0.0
        if mu.numel() <= most:
            return cls(*_distinct(mu))
        outer = most // 64
        low, high = (mu.kthvalue(k).values for k in (outer + 1, mu.numel() - outer))
        below, above = _distinct(mu[mu < low]), _distinct(mu[mu > high])
        middle = _binned(mu[(mu >= low) & (mu <= high)], float(low), float(high), most)
        means, counts = (np.concatenate(pieces) for pieces in zip(below, middle, above, strict=True))
        return cls(means, counts)

    def error(self, values: Floats) -> float:
        """Return the sum of squared distances of the bins' means to the nearest of the ascending `values`."""
        borders = (values[1:] + values[:-1]) / 2
        nearest = values[np.searchsorted(borders, self.means)]
        return float((self.counts * (self.means - nearest) ** 2).sum())

    def magnitude(self, share: float) -> float:
        """Return the smallest magnitude that at least this share of the weights does not exceed."""
        order = np.argsort(np.abs(self.means), kind="stable")
        up_to = np.cumsum(self.counts[order])
        place = int(np.searchsorted(up_to, share * up_to[-1] * (1 - 1e-12)))
        return float(np.abs(self.means[order[place]]))


def _distinct(mu: Tensor) -> tuple[Floats, Floats]:
    values, counts = torch.unique(mu, return_counts=True)
    return values.double().numpy(), counts.double().numpy()


def _binned(mu: Tensor, low: float, high: float, bins: int) -> tuple[Floats, Floats]:
    """Return the mean and the number of the weights in each bin that has any."""
    count, total = np.zeros(bins), np.zeros(bins)
    scale = bins / (high - low) if high > low else 0.0
    for piece in mu.split(CHUNK):
        values = piece.double().numpy()
        place = np.minimum(((values - low) * scale).astype(np.int64), bins - 1)
        count += np.bincount(place, minlength=bins)
        total += np.bincount(place, weights=values, minlength=bins)
    used = count > 0
    return total[used] / count[used], count[used]
