"""Choose by which rule a round fixes weights and gives each its value."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from torch import Tensor
from typing_extensions import override

from pwfn.clustering.cluster_result import ClusterResult
from pwfn.clustering.codebooks.codebook import Codebook
from pwfn.clustering.rounds.greedy_cover import most_bits
from pwfn.clustering.rounds.greedy_round import cluster_round
from pwfn.clustering.rounds.nearest_round import nearest_round
from pwfn.clustering.sigma_join import SigmaJoin
from pwfn.errors import require

MOST_BITS = 32  # above log2 e + log2 of the number of weights, which no weight can exceed


class Round(Protocol):
    """Cluster flat tensors once; arguments and result as in `pwfn.clustering.cluster_round`."""

    def __call__(
        self,
        mu: Tensor,
        sigma: Tensor,
        *,
        fraction: float,
        codebook: Codebook,
        sizes: Sequence[int],
        sigma_join: SigmaJoin,
        tolerance: Tensor | None,
    ) -> ClusterResult:
        """Cluster the weights of one round."""
        ...


class Rule:
    """Choose the clustering of all rounds of a run."""

    @property
    def calibration_images(self) -> int:
        """Count the training images that the rule looks at; 0 = none."""
        return 0


class RuleOfWeights(Rule, ABC):
    """Look at the weights, their sigmas and tolerances alone."""

    @abstractmethod
    def threshold(self, round_index: int, rounds: int) -> float:
        """Return the threshold with which round `round_index` of `rounds` starts, in tolerances."""

    @abstractmethod
    def at(self, threshold: float) -> Round:
        """Return the round that starts with this threshold."""


@dataclass(frozen=True)
class Greedy(RuleOfWeights):
    """Take the value first that most free weights reach (the method's rule; arXiv:2309.13575, section 3).

    The threshold, how many tolerances a weight may move, goes linearly from `start` to `end` over the rounds.

    Attributes:
        start: Threshold of the first round, above 0.
        end: Threshold of the last round, above 0; None: it stays at `start`.
        inc: Factor on the threshold, within a round, when nothing more can be reached; above 1.
        zero_fix: Whether tiny weights always reach zero: those smaller than the smallest power of two in the codebook,
            or nearer to zero than to any other of evenly spaced values.
    """

    start: float = 1.0
    end: float | None = None
    inc: float = 2.0
    zero_fix: bool = True

    def __post_init__(self) -> None:
        require(
            self,
            start=(0 < self.start < math.inf, "a number above 0"),
            end=(self.end is None or 0 < self.end < math.inf, "a number above 0, or null"),
            inc=(1 < self.inc < math.inf, "a number above 1"),
        )

    @override
    def threshold(self, round_index: int, rounds: int) -> float:
        if self.end is None or rounds == 1:
            return self.start
        return self.start + (self.end - self.start) * round_index / (rounds - 1)

    @override
    def at(self, threshold: float) -> Round:
        return partial(cluster_round, threshold=threshold, inc=self.inc, zero_fix=self.zero_fix)


@dataclass(frozen=True)
class GreedyBits(Greedy):
    """Take the value first that saves most bits; all else as in `Greedy`.

    The bits are those of `pwfn.clustering.rounds.greedy_cover.most_bits`.

    Attributes:
        least: A value that saves less than so many bits for each weight it would get is passed over, and its weights
            wait for a larger threshold, at which they may reach one that more share; 0 to 32.
    """

    least: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self, least=(0 <= self.least <= MOST_BITS, f"a number from 0 to {MOST_BITS}"))

    @override
    def at(self, threshold: float) -> Round:
        return partial(
            cluster_round,
            threshold=threshold,
            inc=self.inc,
            zero_fix=self.zero_fix,
            gain=most_bits,
            least=self.least,
        )


@dataclass(frozen=True)
class Nearest(RuleOfWeights):
    """Give every weight its nearest value, those first that are nearest to theirs in their own tolerances."""

    @override
    def threshold(self, round_index: int, rounds: int) -> float:
        return math.inf

    @override
    def at(self, threshold: float) -> Round:
        return nearest_round
