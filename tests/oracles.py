"""Slow and obvious versions of the method, written from its equations, that the fast code is compared with."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from functools import lru_cache
from itertools import combinations_with_replacement

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

SIGMA_JOINS: dict[str, Callable[[Array, Array], Array]] = {
    "std_mu": lambda mu, sigma: np.full(len(sigma), np.std(mu)),
    "mean_sigma": lambda mu, sigma: np.full(len(sigma), math.sqrt(sum(s * s for s in sigma) / len(sigma))),
    "divide_by_2": lambda mu, sigma: sigma / 2,
    "divide_by_10": lambda mu, sigma: sigma / 10,
    "allow_retraining": lambda mu, sigma: sigma.copy(),
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
) -> tuple[Array, Array, list[int], list[float], float]:
    """One round with a dense candidates x weights matrix: new mu, new sigma, assignment, codebook, final k."""
    new_mu, new_sigma = mu.copy(), sigma.copy()
    free = np.ones(len(mu), dtype=bool)
    order, tick, k, todo = 1, 1, threshold, math.ceil(fraction * len(mu))
    while todo > 0:
        grid = np.array(candidates(order, b, float(np.abs(mu[free]).max())))
        reach = np.abs(mu[None, :] - grid[:, None]) <= k * np.maximum(sigma, 2.0**-20)[None, :]
        if zero_fix:
            reach[grid == 0] |= np.abs(mu) < 2.0**-b
        unused = np.ones(len(grid), dtype=bool)
        while todo > 0:
            counts = (reach & free[None, :]).sum(1) * unused
            best = int(np.argmax(counts))  # the first, hence the smallest, of equals
            if counts[best] == 0:
                break
            members = np.flatnonzero(reach[best] & free)
            if len(members) > todo:
                members = np.array(_nearest(mu, sigma, members, float(grid[best]), todo, b, zero_fix))
            new_mu[members] = grid[best]
            new_sigma[members] = SIGMA_JOINS[rule](mu[members], sigma[members])
            free[members] = False
            unused[best] = False
            todo -= len(members)
        if todo > 0:
            if order < max_order and tick % 2 == 1:
                order += 1
            else:
                k *= inc
            tick += 1
    codebook = sorted({float(value) for value in new_mu[~free]})
    assignment = [-1 if is_free else codebook.index(value) for value, is_free in zip(new_mu, free, strict=True)]
    return new_mu, new_sigma, assignment, codebook, k


def _nearest(mu: Array, sigma: Array, members: Array, c: float, n: int, b: int, zero_fix: bool) -> list[int]:
    def key(i: int) -> tuple[bool, float, int]:
        at_zero = zero_fix and c == 0 and abs(mu[i]) < 2.0**-b
        return not at_zero, abs(mu[i] - c) / max(sigma[i], 2.0**-20), i

    return sorted((int(i) for i in members), key=key)[:n]


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
