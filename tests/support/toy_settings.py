"""A small tree of settings, for the tests of how configurations are checked."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, Literal

from pwfn.errors import Fault, InvalidValueError, require

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
        if self.mode == "alternate" and isinstance(self.prior, Scaled):
            raise InvalidValueError([Fault("prior.scale", self.prior.scale, "left out with mode=alternate")])
