"""Compute the method slowly and obviously, from its equations, to compare the fast code with."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from functools import lru_cache
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

SIGMA_JOINS: dict[str, Callable[[Array, Array], Array]] = {
    "std_mu": lambda mu, _: np.full(len(mu), np.std(mu)),
    "mean_sigma": lambda _, sigma: np.full(len(sigma), math.sqrt(sum(s * s for s in sigma) / len(sigma))),
    "divide_by_2": lambda _, sigma: sigma / 2,
    "divide_by_10": lambda _, sigma: sigma / 10,
    "allow_retraining": lambda _, sigma: sigma.copy(),
    "keep": lambda _, sigma: sigma.copy(),
}


@lru_cache(maxsize=256)
def candidates(order: int, b: int, largest: float) -> tuple[float, ...]:
    """All sums of `order` values out of 0 and 2^-b ... 2^floor(log2 largest), up to `largest`, with both signs."""
    summands, power = [0.0], 2.0**-b
    while power <= largest:
        summands.append(power)
        power *= 2
    sums = {sum(chosen) for chosen in combinations_with_replacement(summands, order)}
    kept = {s for s in sums if s <= largest}
    return tuple(sorted(kept | {-s for s in kept if s > 0}))


def most_weights(catch: int, _caught: int) -> float:
    return catch


def most_bits(catch: int, caught: int) -> float:
    """By how many bits the code of N weights becomes shorter: -log2(n / N) for each member of a value that n share."""

    def saved(n: int) -> float:
        return n * math.log2(n) if n else 0.0

    return saved(catch + caught) - saved(caught)


def cluster_round(
    mu: Array,
    sigma: Array,
    *,
    fraction: float,
    threshold: float,
    inc: float,
    b: int,
    max_order: int,
    zero_fix: bool,
    rule: str,
    gain: Callable[[int, int], float] = most_weights,
    least: float = 0.0,
) -> tuple[Array, Array, list[int], list[float], float]:
    """One round with a dense candidates x weights matrix: new mu, new sigma, assignment, codebook, final k."""

    def on_offer(order: int, largest: float) -> list[tuple[int, float]]:
        return [(0, value) for value in candidates(order, b, largest)]

    tiny = [2.0**-b] if zero_fix else [0.0]
    settings = {
        "fraction": fraction,
        "threshold": threshold,
        "inc": inc,
        "max_order": max_order,
        "rule": rule,
        "least": least,
    }
    return _round(mu, sigma, np.zeros(len(mu)), on_offer, tiny, gain, **settings)


def cluster_to_tables(
    mu: Array,
    sigma: Array,
    tables: list[list[float]],
    sizes: list[int],
    tiny: list[float],
    *,
    gain: Callable[[int, int], float] = most_weights,
    **settings: Any,
) -> tuple[Array, Array, list[int], list[float], float]:
    """The same with values for each tensor; weights of tensor t smaller than `tiny[t]` always reach its zero."""
    pairs = [(t, value) for t, table in enumerate(tables) for value in table]
    tensor = np.repeat(np.arange(len(sizes)), sizes)
    return _round(mu, sigma, tensor, lambda _order, _largest: pairs, tiny, gain, max_order=1, **settings)


def _round(  # noqa: PLR0915  # the loop of the paper, written out
    mu: Array,
    sigma: Array,
    tensor: Array,
    on_offer: Callable[[int, float], list[tuple[int, float]]],
    tiny: list[float],
    gain: Callable[[int, int], float],
    *,
    fraction: float,
    threshold: float,
    inc: float,
    max_order: int,
    rule: str,
    least: float = 0.0,
) -> tuple[Array, Array, list[int], list[float], float]:
    new_mu, new_sigma = mu.copy(), sigma.copy()
    free = np.ones(len(mu), dtype=bool)
    caught: Counter[tuple[int, float]] = Counter()
    order, tick, k, todo = 1, 1, threshold, math.ceil(fraction * len(mu))
    taken_at_k, passed_at_k = 0, False
    while todo > 0:
        pairs = on_offer(order, float(np.abs(mu[free]).max()))
        of, value = (np.array(part)[:, None] for part in zip(*pairs, strict=True))
        reach = np.abs(mu - value) <= k * np.maximum(sigma, 2.0**-20)
        for row in np.flatnonzero(value == 0):
            reach[row] |= np.abs(mu) < tiny[pairs[row][0]]
        if len(tiny) > 1:
            reach &= tensor == of
        unused = np.ones(len(pairs), dtype=bool)
        while todo > 0:
            catches = (reach & free).sum(1) * unused
            takers = np.flatnonzero(catches).tolist()
            worthy = [i for i in takers if gain(int(catches[i]), caught[pairs[i]]) >= least * catches[i]]
            takers, passed_at_k = worthy, passed_at_k or len(worthy) < len(takers)
            if not takers:
                break
            best = max(takers, key=lambda i: gain(int(catches[i]), caught[pairs[i]]))  # the first of equals
            members = np.flatnonzero(reach[best] & free)
            if len(members) > todo:
                t, c = pairs[best]
                members = np.array(_nearest(mu, sigma, members, c, todo, tiny[t]))
            new_mu[members] = pairs[best][1]
            new_sigma[members] = SIGMA_JOINS[rule](mu[members], sigma[members])
            free[members] = False
            unused[best] = False
            caught[pairs[best]] += len(members)
            todo -= len(members)
            taken_at_k += 1
        if todo > 0:
            if order < max_order and tick % 2 == 1:
                order += 1
            else:
                k *= inc
                if passed_at_k and taken_at_k == 0:
                    least = least / 2 if least >= 2 else 0
                taken_at_k, passed_at_k = 0, False
            tick += 1
    codebook = sorted({float(value) for value in new_mu[~free]})
    assignment = [-1 if is_free else codebook.index(value) for value, is_free in zip(new_mu, free, strict=True)]
    return new_mu, new_sigma, assignment, codebook, k


def _nearest(mu: Array, sigma: Array, members: Array, c: float, n: int, tiny: float) -> list[int]:
    def key(i: int) -> tuple[bool, float, int]:
        at_zero = c == 0 and abs(mu[i]) < tiny
        return not at_zero, abs(mu[i] - c) / max(sigma[i], 2.0**-20), i

    return sorted((int(i) for i in members), key=key)[:n]


def kmeans(values: list[float], counts: list[float], k: int) -> list[float]:
    """The centers of the best k groups of neighbors among ascending values: dynamic programming over all borders."""
    x, w = np.array(values), np.array(counts)

    def cost(first: int, end: int) -> float:
        mean = np.average(x[first:end], weights=w[first:end])
        return float((w[first:end] * (x[first:end] - mean) ** 2).sum())

    costs = {(i, j): cost(i, j) for i in range(len(x)) for j in range(i + 1, len(x) + 1)}
    best = {(0, 0): (0.0, 0)}
    for groups in range(1, k + 1):
        for end in range(groups, len(x) + 1):
            starts = [start for start in range(groups - 1, end) if (groups - 1, start) in best]
            best[groups, end] = min((best[groups - 1, start][0] + costs[start, end], start) for start in starts)
    centers, end = [], len(x)
    for groups in range(k, 0, -1):
        start = best[groups, end][1]
        centers.append(float(np.average(x[start:end], weights=w[start:end])))
        end = start
    return centers[::-1]


def pow2_distance(mu: Array, scale: float = 0.0025, quantile: float = 0.75, ceiling: float = 0.05) -> Array:
    """The paper's prior, weight by weight."""
    distances = []
    for m in np.abs(mu):
        if m == 0:
            distances.append(0.0)
            continue
        down = 2.0 ** math.floor(math.log2(m))
        up = down if down == m else 2 * down
        distances.append(abs((m - up) / m) * abs((m - down) / m))
    q = float(np.quantile(distances, quantile))
    if q == 0:
        return np.full(len(mu), 2.0**-30)
    return np.clip(scale * np.array(distances) / q, 2.0**-30, ceiling)


def entropy_bits(values: list[float]) -> float:
    """-sum p log2 p over the exact values."""
    n = len(values)
    return -sum(c / n * math.log2(c / n) for c in Counter(values).values())


def order_of(value: float, b: int) -> int:
    """How many powers of two from 2^-b on add up to |value|: take the largest that fits, again and again."""
    rest, terms = abs(value), 0
    while rest > 0:
        power = 2.0**-b
        while 2 * power <= rest:
            power *= 2
        rest, terms = rest - power, terms + 1
    return terms


def signed_digits(number: int) -> int:
    """The fewest powers of two, added or subtracted, that make up `number`."""
    count = 0
    while number:
        if number % 2:
            number -= 2 - number % 4
            count += 1
        number //= 2
    return count
