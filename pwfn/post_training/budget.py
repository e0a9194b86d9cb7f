"""Find the rate of second-order clustering that meets a budget of bytes, bits or accuracy."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pwfn.errors import Fault, InvalidValueError, require

STEP = 8.0  # factor on the rate while no two tries enclose the budget
TRIES = 10  # at most
ENOUGH = 0.97  # of a budget of bytes or bits is used by a network that needs no further try
NEGLIGIBLE = 1e-3  # nats: a network whose answers are so near needs no more of a budget of bytes or bits
CLOSE = 1.1  # factor between two rates that enclose the budget and need no further try
SMALLEST, LARGEST = 1e-14, 1e2  # rates that are tried, in nats per bit


@dataclass(frozen=True)
class Budget:
    """Limit what a compressed network may cost; at most one of the three.

    Attributes:
        megabytes: of the file, in 10^6 bytes; above 0.
        bits: for each weight, all that the file spends on weights; above 0.
        drop: points of top1 that may be lost on validation images; from 0.
    """

    megabytes: float | None = None
    bits: float | None = None
    drop: float | None = None

    def __post_init__(self) -> None:
        require(
            self,
            megabytes=(self.megabytes is None or 0 < self.megabytes < math.inf, "a number above 0, or null"),
            bits=(self.bits is None or 0 < self.bits < math.inf, "a number above 0, or null"),
            drop=(self.drop is None or 0 <= self.drop < 100, "a number from 0 to below 100, or null"),
        )
        given = [name for name, value in vars(self).items() if value is not None]
        if len(given) > 1:
            name = given[1]
            raise InvalidValueError([Fault(name, getattr(self, name), f"null where {given[0]} is given: one budget")])

    @property
    def wanted(self) -> bool:
        """Tell whether there is a limit."""
        return any(value is not None for value in vars(self).values())

    def is_met(self, trial: Trial) -> bool:
        """Tell whether a network is within the budget."""
        if self.drop is not None:
            return trial.drop is not None and trial.drop <= self.drop
        return (self.megabytes is None or trial.megabytes <= self.megabytes) and (
            self.bits is None or trial.bits <= self.bits
        )

    def best(self, trials: Sequence[Trial]) -> Trial | None:
        """Return the trial within the budget of the smallest rate; of a budget of accuracy, of the largest."""
        within = [trial for trial in trials if self.is_met(trial)]
        choose = min if self.drop is None else max
        return choose(within, key=lambda one: one.rate) if within else None

    def share(self, trial: Trial) -> float:
        """Return the share of a budget of bytes or bits that a network uses; 0 for one of accuracy."""
        shares = [0.0]
        if self.megabytes is not None:
            shares.append(trial.megabytes / self.megabytes)
        if self.bits is not None:
            shares.append(trial.bits / self.bits)
        return max(shares)


@dataclass(frozen=True)
class Trial:
    """Hold a network that was clustered at a rate.

    Attributes:
        rate: nats per bit.
        megabytes: of the file, in 10^6 bytes.
        bits: for each weight, all that the file spends on weights.
        divergence: of its answers from those of the network before, nats.
        drop: points of top1 lost on validation images; None where that was not measured.
    """

    rate: float
    megabytes: float
    bits: float
    divergence: float
    drop: float | None = None

    def line(self) -> str:
        """Describe the trial in a line."""
        drop = "" if self.drop is None else f", {-self.drop:+.2f} points on validation images"
        return f"rate {self.rate:.2e}: {self.bits:.3f} bits per weight in the file, {self.megabytes:.3f} MB{drop}"


def _ends(trials: list[Trial], by_size: bool) -> bool:
    """Tell whether a smaller rate would gain a budget of bits or bytes nothing: no loss or no bits left."""
    if not by_size or trials[-1].divergence <= NEGLIGIBLE:
        return by_size
    return len(trials) > 1 and trials[-1].rate < trials[-2].rate and trials[-1].bits <= 1.01 * trials[-2].bits


class BudgetNotMet(ValueError):
    """Say that no rate meets the budget, and how close the nearest one came."""


def find_rate(budget: Budget, start: float, attempt: Callable[[float], Trial]) -> Trial:
    """Find the best network within a budget, by bisection of the logarithm of the rate.

    A larger rate gives fewer bits and more loss. Of a budget of bytes or bits the smallest rate that meets it is
    wanted, of one of accuracy the largest.

    Args:
        budget: what may be spent.
        start: the rate to begin with; 0: one of the usual magnitude.
        attempt: clusters the network at a rate.

    Returns:
        The best of at most 10 trials.

    Raises:
        BudgetNotMet: none was within the budget.
    """
    start = start or 1e-8
    trials: list[Trial] = []
    by_size = budget.drop is None
    met: float | None = None  # the best rate within the budget
    missed: float | None = None  # the nearest rate beyond it
    rate = start
    while len(trials) < TRIES and SMALLEST <= rate <= LARGEST:
        trials.append(attempt(rate))
        met, missed = (rate, missed) if budget.is_met(trials[-1]) else (met, rate)
        if met == rate and (budget.share(trials[-1]) >= ENOUGH or _ends(trials, by_size)):
            break
        if met is not None and missed is not None:
            if max(met, missed) / min(met, missed) <= CLOSE:
                break
            rate = math.sqrt(met * missed)
        else:
            rate *= STEP if by_size == (met is None) else 1 / STEP
    best = budget.best(trials)
    if best is None:
        nearest = min(trials, key=lambda one: (one.drop or 0.0) if not by_size else one.megabytes)
        raise BudgetNotMet(f"no network meets the budget; the nearest is at {nearest.line()}")
    return best
