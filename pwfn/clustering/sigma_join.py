"""Join the sigmas of a cluster that moves onto its value.

Every rule is a callable on one cluster, `rule(mu, sigma) -> sigma after the move`, with `mu` and `sigma` of the members
*before* the move (flat tensors of equal length). The clustering does not call it cluster by cluster: a rule that needs
a mean over the members names the quantity to be averaged, so that one pass over all weights serves every cluster.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override


@dataclass(frozen=True)
class SigmaJoin(ABC):
    """Join the sigmas of a cluster's members.

    Attributes:
        keeps_own: whether each member's sigma is the one it had before.
    """

    keeps_own: ClassVar[bool] = False

    @property
    def retrain(self) -> bool:
        """Tell whether a fixed weight's sigma goes on training."""
        return False

    @abstractmethod
    def __call__(self, mu: Tensor, sigma: Tensor) -> Tensor:
        """Return the members' new sigma [n], given mu and sigma [n] of the members before the move."""


class RootMeanSquare(SigmaJoin):
    """Give every member the root mean square of one quantity over the cluster, in float64."""

    about_mean: bool  # of the quantity's deviation from its mean, or of the quantity itself

    @abstractmethod
    def quantity(self, mu: Tensor, sigma: Tensor) -> Tensor:
        """Return what is squared and averaged, for each of the given weights."""

    def joined(self, mean: Tensor, variance: Tensor) -> Tensor:
        """Return the sigma of clusters in which the quantity has this mean and population variance (float64)."""
        return variance.sqrt() if self.about_mean else (variance + mean.square()).sqrt()

    @override
    def __call__(self, mu: Tensor, sigma: Tensor) -> Tensor:
        variance, mean = torch.var_mean(self.quantity(mu.double(), sigma.double()), correction=0)
        return self.joined(mean, variance).to(sigma.dtype).expand_as(sigma)


class StdMu(RootMeanSquare):
    """Take the population standard deviation of the members' mu (the paper's rule)."""

    about_mean = True

    @override
    def quantity(self, mu: Tensor, sigma: Tensor) -> Tensor:
        return mu


class MeanSigma(RootMeanSquare):
    """Take the root mean square of the members' sigma."""

    about_mean = False

    @override
    def quantity(self, mu: Tensor, sigma: Tensor) -> Tensor:
        return sigma


class Divide(SigmaJoin):
    """Divide every member's own sigma by `divisor`."""

    divisor: float

    @override
    def __call__(self, mu: Tensor, sigma: Tensor) -> Tensor:
        return sigma / self.divisor


class DivideBy2(Divide):
    """Halve every member's own sigma."""

    divisor = 2.0


class DivideBy10(Divide):
    """Divide every member's own sigma by ten."""

    divisor = 10.0


class Keep(Divide):
    """Keep every member's own sigma; a fixed weight's does not train."""

    divisor = 1.0
    keeps_own = True


class AllowRetraining(Divide):
    """Keep every member's sigma, which goes on training although mu is fixed."""

    divisor = 1.0
    keeps_own = True

    @property
    @override
    def retrain(self) -> bool:
        return True


std_mu = StdMu()
mean_sigma = MeanSigma()
divide_by_2 = DivideBy2()
divide_by_10 = DivideBy10()
keep = Keep()
allow_retraining = AllowRetraining()
