"""Turn Hydra's sweep words into optuna's distributions, and a trial's choice into overrides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from hydra.errors import HydraException

if TYPE_CHECKING:
    from optuna import Trial

_DIGITS = 4  # of a number that was drawn: enough for any hyperparameter, and a line that can be read


class Choice(NamedTuple):
    """Choose one of several values."""

    options: list[str]

    def suggest(self, trial: Trial, key: str) -> str:
        """Return what optuna chooses, as the value of an override."""
        return str(trial.suggest_categorical(key, self.options))

    def __str__(self) -> str:
        return f"one of {', '.join(self.options)}"


class Whole(NamedTuple):
    """Choose a whole number from `low` to `high`, both included."""

    low: int
    high: int
    step: int
    log: bool

    def suggest(self, trial: Trial, key: str) -> str:
        """Return what optuna chooses, as the value of an override."""
        return str(trial.suggest_int(key, self.low, self.high, step=self.step, log=self.log))

    def __str__(self) -> str:
        return f"{self.low} to {self.high}"


class Real(NamedTuple):
    """Choose a number from `low` to `high`, evenly over its logarithm with `log`."""

    low: float
    high: float
    log: bool

    def suggest(self, trial: Trial, key: str) -> str:
        """Return what optuna chooses, rounded to four digits, as the value of an override."""
        drawn = float(f"{trial.suggest_float(key, self.low, self.high, log=self.log):.{_DIGITS}g}")
        return repr(min(max(drawn, self.low), self.high))

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}{' (logarithmic)' if self.log else ''}"


Dimension = Choice | Whole | Real


def search_space(overrides: Sequence[Override]) -> tuple[list[str], dict[str, Dimension]]:
    """Return the overrides of all trials and the searched ones; the last override of a key counts."""
    latest = {override.get_key_element(): override for override in overrides}
    fixed = [f"{key}={o.get_value_element_as_str()}" for key, o in latest.items() if not o.is_sweep_override()]
    return fixed, {key: _dimension(key, o) for key, o in latest.items() if o.is_sweep_override()}


def suggested(trial: Trial, space: Mapping[str, Dimension]) -> list[str]:
    """Return one trial's overrides; it gets again what it got before the search was killed."""
    return [f"{key}={dimension.suggest(trial, key)}" for key, dimension in space.items()]


def _dimension(key: str, override: Override) -> Dimension:
    value: Any = override.value()
    log = "log" in getattr(value, "tags", ())
    if override.is_choice_sweep() and not log:
        return Choice([str(option) for option in override.sweep_string_iterator()])
    if isinstance(value, RangeSweep) and all(isinstance(n, int) for n in (value.start, value.stop, value.step)):
        values = range(value.start, value.stop, value.step)  # type: ignore[arg-type]
        if len(values) > 0 and value.step > 0 and not (log and (values[0] < 1 or value.step != 1)):
            return Whole(values[0], values[-1], value.step, log)  # type: ignore[arg-type]
    if isinstance(value, IntervalSweep):
        low, high = float(value.start or 0), float(value.end or 0)  # Hydra's grammar demands both
        if low < high and not (log and low <= 0):
            return Real(low, high, log)
    raise HydraException(
        f"pwfn: {key} = {override.get_value_string()}: must be choice(...), range(first,beyond) of whole numbers, "
        "interval(least,most) or tag(log,interval(least,most)) of numbers above 0"
    )
