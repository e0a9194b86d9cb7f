"""A small tree of settings, for the tests of how configurations are checked."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, Literal

from pwfn.errors import Check, require, require_all

HERE = __name__


class Prior(ABC):
    """An interface, as the real ones are."""

    @abstractmethod
    def start(self) -> float: ...


@dataclass(frozen=True)
class Constant(Prior):
    sigma: float = 0.1

    def __post_init__(self) -> None:
        require(self, sigma=(self.sigma > 0, "a number above 0"))

    def start(self) -> float:
        return self.sigma


class Scaled(Prior):
    """An ordinary class, not a dataclass."""

    def __init__(self, scale: float, clip: float | None = None) -> None:
        self.scale, self.clip = scale, clip

    def start(self) -> float:
        return self.scale


class Extension(ABC):
    """An interface that only users write classes for; such a class stays known for the rest of the tests."""

    @abstractmethod
    def start(self) -> float: ...


@dataclass(frozen=True)
class Extended:
    extension: Extension


@dataclass(frozen=True)
class Optimizer:
    lr: float
    momentum: float = 0.9
    nesterov: bool = False

    def __post_init__(self) -> None:
        require(self, lr=(self.lr > 0, "a number above 0"), momentum=(0 <= self.momentum < 1, "from 0 to below 1"))


@dataclass(frozen=True)
class Settings:
    prior: Prior
    optimizer: Optimizer
    seed: int
    name: str = "run"
    mode: Literal["joint", "alternate"] = "joint"
    fractions: tuple[float, ...] = (1.0,)
    limit: int | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    second: Optimizer | None = None

    def __post_init__(self) -> None:
        require_all(self.checks())

    def checks(self) -> list[Check]:
        return [
            lambda: ("seed", self.seed, self.seed >= 0, "an integer from 0"),
            lambda: (
                "prior.scale",
                getattr(self.prior, "scale", None),
                self.mode == "joint" or not isinstance(self.prior, Scaled),
                "left out with mode=alternate",
            ),
            lambda: (
                "limit",
                self.limit,
                self.limit is None or self.limit < self.limit_of_optimizer,
                "below that of the optimizer",
            ),
        ]

    @property
    def limit_of_optimizer(self) -> float:
        return 100 * self.optimizer.lr
