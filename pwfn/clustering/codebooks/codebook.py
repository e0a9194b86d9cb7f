"""Specify which values a weight may take.

`Codebook` is what a configuration names, `Values` are those that are ready for clustering. Sums of powers of two
(Subia-Waud and Dasmahapatra 2023, arXiv:2309.13575, section 3) are the same for all weights, and both at once.
Codebooks that are made from the weights are in `pwfn.clustering.codebooks.fitted_codebook`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from pwfn.clustering.codebooks.candidates import Candidates, GridCandidates
from pwfn.clustering.codebooks.orders import order_of, signed_order_of
from pwfn.errors import require

LIMITS = (None, 256, 16, 4)
MAX_B = 24  # 2^-24 is one float32 significand: finer grids could not be told apart near 1
MAX_LIMIT_BITS = 30  # no weight may be 2^30 grid steps large: a code is below 4 * limit^2 and must fit into int64


class Codebook(ABC):
    """Specify the values that weights may take.

    Attributes:
        max_order: How many terms one value may add up.
        per_tensor_max: How many values one tensor may use: 4, 16 or 256; None: all.
    """

    max_order: int
    per_tensor_max: int | None = None

    @property
    def per_tensor(self) -> bool:
        """Tell whether each tensor of a network gets values of its own."""
        return False

    @abstractmethod
    def fit(self, mu: Tensor, sizes: Sequence[int]) -> Values:
        """Return the values for these weights.

        Args:
            mu: Means of all weights, flat [N], on the CPU.
            sizes: Weights of each tensor, one after the other; none: all are one tensor.

        Raises:
            ValueError: If there are no such values for these weights.
        """


class Values(Codebook):
    """Specify values that are known.

    Attributes:
        sizes: Weights of each segment that has values of its own; none: all weights share them.
    """

    sizes: tuple[int, ...]

    @override
    def fit(self, mu: Tensor, sizes: Sequence[int]) -> Values:
        return self

    @abstractmethod
    def check(self, low: float, high: float) -> None:
        """Raise ValueError if weights from `low` to `high` cannot be clustered to these values."""

    @abstractmethod
    def candidates_at(self, k: float, zero_fix: bool) -> Candidates:
        """Return the values as candidates at the threshold `k`."""

    @abstractmethod
    def indices(self, order: int, limit: int) -> Tensor:
        """Return the sorted int64 indices of candidates of at most `order` terms, at most `limit` from 0."""

    @abstractmethod
    def tables(self, largest: float) -> list[Tensor]:
        """Return each segment's values for weights of magnitude at most `largest`: float64, ascending."""

    @abstractmethod
    def orders(self, values: Tensor) -> Tensor | None:
        """Return how many terms each of these values adds up (int64), None where that means nothing."""

    @abstractmethod
    def as_dict(self) -> dict[str, Any] | None:
        """Return what was made from the weights, as numbers and lists; None if nothing was."""


class OnGrid(Values):
    """Allow sums of at most `max_order` powers of two, the smallest of which is 2^-b.

    Every value is an integer multiple of 2^-b, so the codebook is computed with exact integers, its numerators.

    Attributes:
        b: Minus the exponent of the smallest power, 0 to 24.
        signed: Whether terms may be subtracted.
    """

    b: int
    sizes = ()
    signed: ClassVar[bool] = False

    @property
    def step(self) -> float:
        """Return the grid on which every value lies: 2^-b, in units of the weights."""
        return 2.0**-self.b

    def candidates(self, order: int, largest: float) -> Tensor:
        """Return the sorted float64 values of at most `order` powers of two, of magnitude at most `largest`."""
        return self.indices(order, int(largest / self.step)).double() * self.step

    @override
    def check(self, low: float, high: float) -> None:
        bound = 2.0 ** (MAX_LIMIT_BITS - self.b)
        if max(-low, high) >= bound:
            raise ValueError(
                f"mu must be smaller than {bound:g} in magnitude where b = {self.b}; it goes from {low} to {high}"
            )

    @override
    def candidates_at(self, k: float, zero_fix: bool) -> GridCandidates:
        return GridCandidates(self.step, k, zero_fix)

    @override
    def indices(self, order: int, limit: int) -> Tensor:
        return _numerators(order, limit, self.signed)

    @override
    def tables(self, largest: float) -> list[Tensor]:
        return [self.candidates(self.max_order, largest)]

    @override
    def orders(self, values: Tensor) -> Tensor:
        return signed_order_of(values, self.b) if self.signed else order_of(values, self.b)

    @override
    def as_dict(self) -> None:
        return None


@dataclass(frozen=True)
class AdditivePow2(OnGrid):
    """Allow sums of at most `max_order` powers of two, the smallest of them 2^-b (the method's).

    Example: b=2, order 2, largest magnitude 1 gives -1, -0.75, -0.5, -0.25, 0, 0.25, 0.5, 0.75, 1.
    """

    b: int = 7
    max_order: int = 4
    per_tensor_max: int | None = None

    def __post_init__(self) -> None:
        _check_sums(self)


@dataclass(frozen=True)
class SignedPow2(OnGrid):
    """Allow sums and differences of at most `max_order` powers of two, the smallest of them 2^-b.

    A shifter subtracts as cheaply as it adds. In canonical signed digits (Reitwiesner 1960) 31 is 32 - 1, two terms
    instead of five, so that four terms reach every multiple of 2^-b up to 170 where sums of one sign end at 30.
    """

    b: int = 7
    max_order: int = 4
    per_tensor_max: int | None = None
    signed: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check_sums(self)


@dataclass(frozen=True)
class Pow2(OnGrid):
    """Allow zero and the powers of two from 2^-b up, with both signs: `AdditivePow2` of a single term."""

    b: int = 7
    max_order: int = field(default=1, init=False)
    per_tensor_max: int | None = None

    def __post_init__(self) -> None:
        require(
            self,
            b=(_is_exponent(self.b), f"an integer from 0 to {MAX_B}"),
            per_tensor_max=is_limit(self.per_tensor_max),
        )


def is_limit(value: int | None) -> tuple[bool, str]:
    """Say whether a codebook may have this `per_tensor_max`, and which ones it may have."""
    return value in LIMITS, "null, 256, 16 or 4"


def _check_sums(codebook: AdditivePow2 | SignedPow2) -> None:
    require(
        codebook,
        b=(_is_exponent(codebook.b), f"an integer from 0 to {MAX_B}"),
        max_order=(isinstance(codebook.max_order, int) and 1 <= codebook.max_order <= 4, "an integer from 1 to 4"),
        per_tensor_max=is_limit(codebook.per_tensor_max),
    )


def _is_exponent(b: Any) -> bool:
    return isinstance(b, int) and 0 <= b <= MAX_B


@lru_cache(maxsize=64)
def _numerators(order: int, limit: int, signed: bool) -> Tensor:
    powers = torch.tensor([0] + [1 << j for j in range(limit.bit_length() + signed)], dtype=torch.int64)
    terms = torch.cat([-powers, powers]) if signed else powers
    sums, most = powers, 2 * limit if signed else limit  # the next power of two above the limit may begin a difference
    for _ in range(order - 1):
        sums = torch.unique(sums[:, None] + terms[None, :])
        sums = sums[(sums >= 0) & (sums <= most)]
    sums = sums[sums <= limit]
    mirrored: Tensor = torch.unique(torch.cat([-sums, sums]))
    return mirrored
