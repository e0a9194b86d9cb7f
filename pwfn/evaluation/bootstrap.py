"""Estimate percentile intervals of a test split's figures by resampling images (Efron 1979)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from pwfn.evaluation.metrics import METRICS, Answers, Numbers, bin_of, equal_counts

BLOCK = 1 << 21  # numbers that are worked on at once
LEVEL = 0.95


def bootstrap(rows: Mapping[str, Answers], *, resamples: int, seed: int, bins: int) -> dict[str, dict[str, Numbers]]:
    """Compute every metric of every row on `resamples` splits drawn with replacement.

    All rows speak of the same images and are given the same splits, so differences of two rows have intervals too.

    Args:
        rows: the answers of each row, by its name.
        resamples: how many splits are drawn.
        seed: of the splits.
        bins: groups of confidence that calibration is measured over.

    Returns:
        For each row and metric its value on each split [resamples].
    """
    count = len(next(iter(rows.values())))
    found: dict[str, list[dict[str, Numbers]]] = {name: [] for name in rows}
    for times in _splits(count, resamples, seed):
        for name, answers in rows.items():
            found[name].append(_resampled(answers, times, bins))
    return {
        name: {key: np.concatenate([chunk[key] for chunk in chunks]) for key in chunks[0]}
        for name, chunks in found.items()
    }


def interval(values: Numbers) -> tuple[float, float]:
    """Return what the middle 95 % of the values lie between."""
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _splits(count: int, resamples: int, seed: int) -> Iterator[Numbers]:
    """Count how often each image is in each split [a few splits, count]."""
    rng = np.random.default_rng(seed)
    at_once = max(1, BLOCK // count)
    for start in range(0, resamples, at_once):
        number = min(at_once, resamples - start)
        drawn = rng.integers(count, size=(number, count)) + count * np.arange(number)[:, None]
        times = np.bincount(drawn.ravel(), minlength=number * count).reshape(number, count)
        yield times.astype(np.float64)  # once, and not in each of the products to come


def _resampled(answers: Answers, times: Numbers, bins: int) -> dict[str, Numbers]:
    count = len(answers)
    gap = answers.hit1 - answers.confidence
    in_bin = np.zeros((count, bins))
    in_bin[np.arange(count), bin_of(answers.confidence, bins)] = gap
    averaged = [m for m in METRICS if m.column is not None and getattr(answers, m.column) is not None]
    columns = [metric.scale * getattr(answers, str(metric.column)) for metric in averaged]
    sums = times @ np.column_stack([in_bin, *columns]) / count
    order = np.argsort(answers.confidence, kind="stable")
    special = {
        "ece": np.abs(sums[:, :bins]).sum(1),
        "adaptive_ece": _adaptive(gap[order], times[:, order], bins),
    }
    means = {metric.name: sums[:, bins + index] for index, metric in enumerate(averaged)}
    errors = {metric.name: metric.scale * special[metric.name] for metric in METRICS if metric.name in special}
    return means | errors


def _adaptive(gap: Numbers, times: Numbers, bins: int) -> Numbers:
    """Compute the adaptive calibration error of each split, for images sorted by confidence."""
    count = len(gap)
    borders = equal_counts(count, bins)[1:]
    ends, sums = np.cumsum(times, axis=1), np.cumsum(times * gap, axis=1)
    result = np.empty(len(times))
    for row in range(len(times)):
        last = np.searchsorted(ends[row], borders, side="left")  # the image in which each group ends
        up_to = sums[row, last] - (ends[row, last] - borders) * gap[last]
        result[row] = np.abs(np.diff(up_to, prepend=0.0)).sum() / count
    return result
