"""Group weights coded with the same frequencies: classes of output and input channels and positions.

A tensor without its dimensions of size 1 is seen as [a, b, c]: its first dimension, its second, and all others
together; [out, in, positions] for a convolution, [channels, rows, columns] for a depthwise one. Each of the three axes
has a class for every index, and the weights that share all three classes are one *context*.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pwfn.artifact.header import Shape3
from pwfn.artifact.sections.coding import Ints, Symbols

Floats = NDArray[np.float64]
ClassOf = NDArray[np.uint8]

MOST_CLASSES: Shape3 = (16, 16, 4)
BINS = 32  # groups of symbols, of about equal weight, that rows and columns are compared by
SMALLEST = 2048  # weights: below, a tensor is one context
TABLE_BITS, SYMBOL_BITS = 32, 7  # about what a table costs in the file: in any case, and for each symbol it knows


@dataclass(frozen=True)
class Classes:
    """Hold the class of each index, axis by axis.

    `counts` says how many classes an axis has; where it is 1, its array is not used.
    """

    counts: Shape3
    of: tuple[ClassOf, ClassOf, ClassOf]

    @classmethod
    def single(cls, shape: Shape3) -> Classes:
        """Put everything into one class."""
        a, b, c = (np.zeros(size, dtype=np.uint8) for size in shape)
        return cls((1, 1, 1), (a, b, c))

    @property
    def contexts(self) -> int:
        """Return the number of contexts, also of those without a weight."""
        return math.prod(self.counts)

    def _axes(self) -> list[int]:
        return [axis for axis in range(3) if self.counts[axis] > 1]

    def sort(self, symbols: Symbols) -> Symbols:
        """Reorder [a, b, c] so that equal classes lie side by side; within a class the order stays."""
        for axis in reversed(self._axes()):
            symbols = symbols.take(np.argsort(self.of[axis], kind="stable"), axis=axis)
        return symbols

    def unsort(self, symbols: Symbols) -> Symbols:
        """Undo `sort`."""
        for axis in self._axes():
            back = np.argsort(np.argsort(self.of[axis], kind="stable"), kind="stable")
            symbols = symbols.take(back, axis=axis)
        return symbols

    def blocks(self) -> Iterator[tuple[slice, slice, slice]]:
        """Yield where each context lies in a sorted tensor; the class of the last axis runs fastest."""
        ends = [
            [0, *np.cumsum(np.bincount(of, minlength=count)).tolist()] if count > 1 else [0, len(of)]
            for of, count in zip(self.of, self.counts, strict=True)
        ]
        cuts = [[slice(*pair) for pair in pairwise(end)] for end in ends]
        return ((x, y, z) for x in cuts[0] for y in cuts[1] for z in cuts[2])


def choose(symbols: Symbols, magnitudes: Floats) -> tuple[Classes, Ints]:
    """Choose the classes under which a tensor takes least space.

    Args:
        symbols: [a, b, c], from 0 to below the size of the alphabet.
        magnitudes: [alphabet], the absolute values of the symbols; they order classes from small to large weights.

    Returns:
        The classes, and how often each symbol occurs in each context, [contexts, alphabet].
    """
    a, b, c = symbols.shape
    alphabet = len(magnitudes)
    total = np.bincount(symbols.ravel(), minlength=alphabet)
    single = Classes.single((a, b, c))
    if symbols.size < SMALLEST:
        return single, total[None]
    most = _most_classes((a, b, c), alphabet, symbols.size // 16)
    bins, loudness = _bins(total, magnitudes)
    binned = bins[symbols]
    of = tuple(_cluster(_along(binned, axis), loudness, count) for axis, count in enumerate(most))
    first, second, third = (_base(of[axis], math.prod(most[axis + 1 :]) * alphabet) for axis in range(3))
    cell = symbols + (first[:, None, None] + second[:, None]) + third
    joint = np.bincount(cell.ravel(), minlength=math.prod(most) * alphabet).reshape(*most, alphabet)
    return _coarsened(joint, of)  # type: ignore[arg-type]


def _base(of: ClassOf, stride: int) -> Symbols:
    return of.astype(np.int32) * np.int32(stride)


def _most_classes(shape: Shape3, alphabet: int, cells: int) -> Shape3:
    """Choose powers of two, halved in turn until all contexts together have at most `cells` counts."""
    most = [
        min(limit, 1 << (max(1, size // 2).bit_length() - 1)) for limit, size in zip(MOST_CLASSES, shape, strict=True)
    ]
    while math.prod(most) * alphabet > cells and max(most) > 1:
        widest = max(range(3), key=lambda axis: (most[axis], axis))
        most[widest] //= 2
    return most[0], most[1], most[2]


def _bins(total: Ints, magnitudes: Floats) -> tuple[NDArray[np.uint8], Floats]:
    """Put neighboring symbols into bins of about equal count; return each one's bin, each bin's magnitude."""
    middle = np.cumsum(total) - total / 2
    bins = np.minimum((middle * (BINS / total.sum())).astype(np.int64), BINS - 1)
    weight = np.bincount(bins, weights=total, minlength=BINS)
    loudness = np.bincount(bins, weights=total * magnitudes, minlength=BINS) / np.maximum(weight, 1)
    return bins.astype(np.uint8), loudness


def _along(binned: NDArray[np.uint8], axis: int) -> Ints:
    """Count the symbols of each index of the axis: [indices of the axis, BINS]."""
    size = binned.shape[axis]
    index = (np.arange(size, dtype=np.int32) * BINS).reshape([-1 if other == axis else 1 for other in range(3)])
    return np.bincount((index + binned).ravel(), minlength=size * BINS).reshape(size, BINS)


def _cluster(counts: Ints, loudness: Floats, classes: int) -> ClassOf:
    """Choose for each row of `counts` the class that codes it in the fewest bits (Lloyd's iterations)."""
    size = len(counts)
    if classes == 1:
        return np.zeros(size, dtype=np.uint8)
    mean = counts @ loudness / np.maximum(counts.sum(1), 1)
    of = np.empty(size, dtype=np.int64)
    of[np.argsort(mean, kind="stable")] = np.arange(size) * classes // size
    floats = counts.astype(np.float32)
    for _ in range(4):
        sums = np.stack([floats[of == one].sum(0) for one in range(classes)]) + np.float32(0.05)
        bits = -np.log2(sums / sums.sum(1, keepdims=True))
        of = np.argmin(floats @ bits.T, axis=1)
    level = np.bincount(of, weights=mean, minlength=classes) / np.maximum(np.bincount(of, minlength=classes), 1)
    return np.argsort(np.argsort(level, kind="stable"))[of].astype(np.uint8)


def _coarsened(joint: Ints, of: tuple[ClassOf, ClassOf, ClassOf]) -> tuple[Classes, Ints]:
    """Join neighboring classes where that is smaller. `joint` are counts [classes of each axis, alphabet]."""
    best: tuple[float, Shape3] | None = None
    halvings = [range(size.bit_length()) for size in joint.shape[:3]]
    for x in halvings[0]:
        at_x = _halved(joint, 0, x)
        for y in halvings[1]:
            at_y = _halved(at_x, 1, y)
            for z in halvings[2]:
                sides = sum(_entropy_bits(np.bincount(of[axis] >> shift)[None]) for axis, shift in enumerate((x, y, z)))
                bits = _bits(_halved(at_y, 2, z)) + sides
                if best is None or bits < best[0]:
                    best = bits, (x, y, z)
    assert best is not None
    shifts = best[1]
    for axis, shift in enumerate(shifts):
        joint = _halved(joint, axis, shift)
    merged = tuple(one >> shift for one, shift in zip(of, shifts, strict=True))
    return _without_empty(joint, merged)  # type: ignore[arg-type]


def _without_empty(joint: Ints, of: tuple[ClassOf, ClassOf, ClassOf]) -> tuple[Classes, Ints]:
    """Give numbers to the classes that have members; every context then holds at least one weight."""
    kept = []
    for axis, one in enumerate(of):
        present, renumbered = np.unique(one, return_inverse=True)
        joint = np.take(joint, present, axis=axis)
        kept.append(renumbered.astype(np.uint8))
    counts = joint.shape[0], joint.shape[1], joint.shape[2]
    return Classes(counts, (kept[0], kept[1], kept[2])), joint.reshape(-1, joint.shape[3])


def _halved(counts: Ints, axis: int, times: int) -> Ints:
    shape = counts.shape
    merged: Ints = counts.reshape(*shape[:axis], shape[axis] >> times, 1 << times, *shape[axis + 1 :]).sum(axis + 1)
    return merged


def _bits(counts: Ints) -> float:
    """Count the bits that the symbols, and the tables for them, cost."""
    flat = counts.reshape(-1, counts.shape[-1])
    return _entropy_bits(flat) + SYMBOL_BITS * np.count_nonzero(flat) + TABLE_BITS * np.count_nonzero(flat.any(1))


def _entropy_bits(counts: Ints) -> float:
    """Count the bits of all symbols together, each row coded with its own frequencies."""
    rows = counts.sum(1)
    return float(_n_log_n(rows[rows > 0]) - _n_log_n(counts[counts > 0]))


def _n_log_n(counts: NDArray[np.integer[Any]]) -> float:
    return float((counts * np.log2(counts)).sum())
