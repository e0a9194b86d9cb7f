"""How sure a figure of a finite test split is: percentile intervals over resampled images (Efron 1979)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from pwfn.evaluation.answers import METRICS, Answers, Numbers, Whole, bin_of, equal_counts

BLOCK = 1 << 21  # numbers that are worked on at once
LEVEL = 0.95


def bootstrap(rows: Mapping[str, Answers], *, resamples: int, seed: int, bins: int) -> dict[str, dict[str, Numbers]]:
    """For every row and metric its value on each of `resamples` splits drawn with replacement, [resamples].

    All rows speak of the same images and are given the same splits, so differences of two rows have intervals too.
    """
    count = len(next(iter(rows.values())))
    found: dict[str, list[dict[str, Numbers]]] = {name: [] for name in rows}
    for times in _splits(count, resamples, seed):
        for name, answers in rows.items():
            found[name].append(_resampled(answers, times, bins))
    return {
        name: {key: np.concatenate([part[key] for part in parts]) for key in parts[0]} for name, parts in found.items()
    }


def interval(values: Numbers) -> tuple[float, float]:
    """What the middle 95 % of the values lie between."""
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _splits(count: int, resamples: int, seed: int) -> Iterator[Whole]:
    """How often each image is in each split, [a few splits, count]."""
    rng = np.random.default_rng(seed)
    at_once = max(1, BLOCK // count)
    for start in range(0, resamples, at_once):
        number = min(at_once, resamples - start)
        drawn = rng.integers(count, size=(number, count)) + count * np.arange(number)[:, None]
        yield np.bincount(drawn.ravel(), minlength=number * count).reshape(number, count)


def _resampled(answers: Answers, times: Whole, bins: int) -> dict[str, Numbers]:
    count = len(answers)
    gap = answers.hit1 - answers.confidence
    one_hot = np.zeros((count, bins))
    one_hot[np.arange(count), bin_of(answers.confidence, bins)] = gap
    special = {
        "ece": np.abs(times @ one_hot).sum(1) / count,
        "adaptive_ece": _adaptive(gap[order := np.argsort(answers.confidence, kind="stable")], times[:, order], bins),
    }
    values = {}
    for metric in METRICS:
        column = None if metric.column is None else getattr(answers, metric.column)
        if column is not None:
            values[metric.name] = metric.scale * (times @ column) / count
        elif metric.name in special:
            values[metric.name] = metric.scale * special[metric.name]
    return values


def _adaptive(gap: Numbers, times: Whole, bins: int) -> Numbers:
    """The adaptive calibration error of each split, for images sorted by confidence."""
    count = len(gap)
    borders = equal_counts(count, bins)
    before = np.concatenate([np.zeros((len(times), 1)), np.cumsum(times * gap, axis=1)], axis=1)
    result = np.empty(len(times))
    for row, own in enumerate(times):
        ends = np.cumsum(own)
        last = np.searchsorted(ends, borders[1:], side="left")  # the image in which each group ends
        sums = before[row, last] + (borders[1:] - (ends[last] - own[last])) * gap[last]
        result[row] = np.abs(np.diff(sums, prepend=0.0)).sum() / count
    return result
