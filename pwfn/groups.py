"""Many weights as not too many groups of neighbours, fine enough to make a codebook of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float64]
MOST = 1 << 16


@dataclass(frozen=True)
class Groups:
    """Weights in ascending groups: `means` of the members, and `counts` of them, both float64 [groups], none empty.

    Sums over the weights, and so means of any neighbouring groups together, are exact to rounding.
    """

    means: Floats
    counts: Floats

    @classmethod
    def of(cls, mu: Tensor, bins: int = MOST) -> Groups:
        """Of a flat tensor: a group for each distinct value where there are at most `bins`, else bins of equal width."""
        mu = mu.detach()
        if mu.numel() <= bins:
            values, counts = torch.unique(mu + 0.0, return_counts=True)
            return cls(values.double().cpu().numpy(), counts.double().cpu().numpy())
        low, high = (float(x) for x in mu.aminmax())
        if low == high:
            return cls(np.array([low]), np.array([float(mu.numel())]))
        count, total = np.zeros(bins), np.zeros(bins)
        for piece in mu.split(bins):
            values = piece.double().cpu().numpy()
            place = np.minimum(((values - low) * (bins / (high - low))).astype(np.int64), bins - 1)
            count += np.bincount(place, minlength=bins)
            total += np.bincount(place, weights=values, minlength=bins)
        used = count > 0
        return cls(total[used] / count[used], count[used])

    def error(self, values: Floats) -> float:
        """The sum of squared distances of the groups' means to the nearest of the ascending `values`."""
        borders = (values[1:] + values[:-1]) / 2
        nearest = values[np.searchsorted(borders, self.means)]
        return float((self.counts * (self.means - nearest) ** 2).sum())

    def magnitude(self, share: float) -> float:
        """The smallest magnitude that at least this share of the weights does not exceed."""
        order = np.argsort(np.abs(self.means), kind="stable")
        up_to = np.cumsum(self.counts[order])
        place = int(np.searchsorted(up_to, share * up_to[-1] * (1 - 1e-12)))
        return float(np.abs(self.means[order[place]]))
