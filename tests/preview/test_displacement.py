"""How far weights moved, against numpy on whole arrays."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from pwfn.clustering.chunking import CHUNK
from pwfn.clustering.tolerance import MIN_TOLERANCE
from pwfn.preview.displacement import Moves, Spread, mean, spread, tensor_moves

N = 2 * CHUNK + 12345  # more than one chunk, the last one cut short


@pytest.fixture(scope="module")
def moves() -> Moves:
    numbers = torch.Generator().manual_seed(3)
    start = 0.03 * torch.randn(N, generator=numbers)
    start[::1000] = 0.0
    now = torch.round(start * 2**7) / 2**7
    now[1::1000] = start[1::1000]  # weights that stay
    now[::1000] = 2.0**-7  # weights that start at 0 and move
    sigma = (0.01 * torch.rand(N, generator=numbers)).clamp(max=0.009)
    sigma[2::50] = 1e-9
    return Moves(start, sigma, now)


def rank_99(values: np.ndarray) -> float:
    """The smallest value that 99 % of all do not exceed, by its definition."""
    ordered = np.sort(values)
    return float(next(v for i, v in enumerate(ordered, 1) if 100 * i >= 99 * len(ordered)))


def whole(moves: Moves) -> tuple[np.ndarray, np.ndarray]:
    start, sigma, now = (t.numpy() for t in (moves.start, moves.tolerance, moves.now))
    moved, kept = np.abs(now - start), start != 0
    return moved[kept] / np.abs(start[kept]), moved / np.maximum(sigma, np.float32(2.0**-20))


def test_moves_and_their_spread_are_those_of_numpy(moves: Moves) -> None:
    assert MIN_TOLERANCE == 2.0**-20
    relative, sigmas = whole(moves)
    assert len(relative) == N - len(range(0, N, 1000))
    for measure, expected in ((moves.relative, relative), (moves.in_tolerances, sigmas)):
        made = spread(measure, N)
        assert made.mean == pytest.approx(expected.mean(dtype=np.float64), rel=1e-12)
        assert made.mean == pytest.approx(mean(measure, N), rel=1e-12)
        assert made.p99 == rank_99(expected)
        assert made.largest == expected.max()
        assert 0 < made.mean < made.p99


@pytest.mark.parametrize(
    "values",
    [[0.0], [7.0], [0.0] * 50, [1.0] * 99 + [5.0], [1.0] * 98 + [4.0, 5.0], [0.5, 0.25, 3e38, 1e-45], [*range(200)]],
    ids=["zero", "one", "zeros", "rank within equals", "rank at the step", "extremes", "ladder"],
)
def test_the_rank_is_exact_whatever_the_values(values: list[float]) -> None:
    flat = torch.tensor(values, dtype=torch.float32)
    made = spread(lambda part: flat[part], len(values))
    expected = flat.double().numpy()
    assert made == Spread(pytest.approx(expected.mean(), rel=1e-12), rank_99(expected), expected.max())


def test_no_number_at_all_is_no_move() -> None:
    zeros = torch.zeros(5)
    moves = Moves(zeros, zeros, zeros + 1)
    assert spread(moves.relative, 5) == Spread(0.0, 0.0, 0.0)
    assert mean(moves.relative, 5) == 0
    assert spread(moves.in_tolerances, 5) == Spread(2.0**20, 2.0**20, 2.0**20)


def test_tensors_come_farthest_first_and_all_zero_ones_last(moves: Moves) -> None:
    start = torch.tensor([1.0, 2.0, 2.0, 0.0, 0.0, -4.0, 3.0])
    now = torch.tensor([1.0, 2.0, 5.0, 0.0, 1.0, -4.0, 4.0])
    sigma = torch.tensor([0.5, 0.5, 0.5, 0.1, 0.1, 0.25, 0.25])
    rows = tensor_moves(Moves(start, sigma, now), ["a", "zero", "b"], [3, 2, 2])
    assert [(row.name, row.weights) for row in rows] == [("a", 3), ("b", 2), ("zero", 2)]
    a, b, zero = rows
    assert (a.l2, a.relative, a.tolerances) == (1.0, 0.5, 2.0)
    assert (b.l2, b.tolerances) == (0.2, 2.0)
    assert b.relative == pytest.approx(1 / 6)
    assert math.isnan(zero.l2)
    assert (zero.relative, zero.tolerances) == (0.0, 5.0)
    sizes = [1000, N - 1000]
    by_hand = {}
    pieces: list[tuple[Tensor, Tensor]] = list(zip(moves.start.split(sizes), moves.now.split(sizes), strict=True))
    for name, (old, new) in zip("cd", pieces, strict=True):
        by_hand[name] = float(np.linalg.norm((new - old).double()) / np.linalg.norm(old.double()))
    assert {row.name: row.l2 for row in tensor_moves(moves, ["c", "d"], sizes)} == pytest.approx(by_hand, rel=1e-7)
