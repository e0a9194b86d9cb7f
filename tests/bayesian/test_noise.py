"""Noise of every implementation against Threefry and Box and Muller's transform, number by number."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from pwfn.bayesian.kernels.interface import Gaussian
from pwfn.bayesian.kernels.noise import box_muller, standard_normal, threefry
from pwfn.bayesian.kernels.reference import Reference
from pwfn.bayesian.regularizer import NoRegularizer
from tests.support.kernels import IMPLEMENTATIONS, implementation

ONES = 0xFFFFFFFF
KNOWN_ANSWERS = [  # Random123's tests/kat_vectors for threefry2x32 20: counter, key, words
    ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
    ((ONES, ONES), (ONES, ONES), (0x1CB996FC, 0xBB002BE7)),
    ((0x243F6A88, 0x85A308D3), (0x13198A2E, 0x03707344), (0xC4923A9C, 0x483DF7A0)),
]


def naive_threefry(a: int, b: int, k0: int, k1: int) -> tuple[int, int]:
    """Salmon et al. 2011: x0 += x1, x1 turned left and mixed with x0; keys put in every four rounds."""
    word = 2**32
    keys = (k0, k1, k0 ^ k1 ^ 0x1BD11BDA)
    a, b = (a + k0) % word, (b + k1) % word
    for turn in range(20):
        by = (13, 15, 26, 6, 17, 29, 16, 24)[turn % 8]
        a = (a + b) % word
        b = ((b << by) | (b >> (32 - by))) % word ^ a
        if turn % 4 == 3:
            at = turn // 4 + 1
            a, b = (a + keys[at % 3]) % word, (b + keys[(at + 1) % 3] + at) % word
    return a, b


def naive_noise(size: int, key: int, number: int) -> Tensor:
    noise = []
    for start in range(0, size, 1024):
        pairs = [
            naive_threefry(start // 2 + j, number, key % 2**32, key // 2**32) for j in range(min(512, size - start))
        ]
        polar = [(math.sqrt(-2 * math.log((a + 0.5) / 2**32)), 2 * math.pi * b / 2**32) for a, b in pairs]
        noise += [r * math.cos(angle) for r, angle in polar] + [r * math.sin(angle) for r, angle in polar]
    return torch.tensor(noise[:size], dtype=torch.float64)


def signed(word: int) -> Tensor:
    return torch.tensor([word]).to(torch.int32)


def noise_of(kernels: Reference, tensors: list[Tensor], numbers: list[int], key: int) -> list[Tensor]:
    rule = NoRegularizer()
    return kernels.noise([Gaussian(n, t, t, None, None, rule) for n, t in zip(numbers, tensors, strict=True)], key)


@pytest.mark.parametrize(("counter", "key", "words"), KNOWN_ANSWERS)
def test_threefry_gives_its_authors_known_answers(
    counter: tuple[int, int], key: tuple[int, int], words: tuple[int, int]
) -> None:
    assert naive_threefry(*counter, *key) == words
    made = threefry(signed(counter[0]), signed(counter[1]), key[0] + (key[1] << 32))
    assert tuple(int(word) % 2**32 for word in made) == words


@pytest.mark.parametrize("name", IMPLEMENTATIONS)
def test_noise_is_threefry_and_box_and_muller(name: str) -> None:
    key, sizes, numbers = 0xFEDCBA9876543210, (2500, 3, 0, 1024), [7, 0, 1, 2**31 - 1]
    made = noise_of(implementation(name), [torch.empty(size) for size in sizes], numbers, key)
    for noise, size, number in zip(made, sizes, numbers, strict=True):
        torch.testing.assert_close(noise.double(), naive_noise(size, key, number), rtol=2e-6, atol=1e-6)


def test_every_implementation_makes_the_same_noise() -> None:
    made = [noise_of(implementation(name), [torch.empty(700, 300)], [3], 5)[0] for name in IMPLEMENTATIONS]
    for other in made[1:]:
        torch.testing.assert_close(other, made[0], rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_noise_has_the_shape_and_type_of_the_weights(dtype: torch.dtype) -> None:
    weights = torch.empty(3, 5, 7, 11, dtype=dtype).to(memory_format=torch.channels_last)
    (noise,) = standard_normal([weights], [4], 9)
    assert noise.dtype == dtype
    assert noise.shape == weights.shape
    assert noise.is_contiguous()
    expected = naive_noise(weights.numel(), 9, 4).view(3, 5, 7, 11).to(dtype)
    single = {"rtol": 2e-6, "atol": 1e-6}  # the angle and the uniform number are rounded to float32 in every type
    torch.testing.assert_close(noise, expected, **(single if dtype.itemsize >= 4 else {}))


def test_long_tensors_are_computed_in_chunks_without_a_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    tensors, numbers = [torch.empty(5000), torch.empty(1500)], [0, 1]
    whole = standard_normal(tensors, numbers, 3)
    monkeypatch.setattr("pwfn.bayesian.kernels.noise.CHUNK", 1024)
    assert all(torch.equal(a, b) for a, b in zip(standard_normal(tensors, numbers, 3), whole, strict=True))


def extreme_words() -> np.ndarray:
    return np.concatenate([np.arange(4), 2**32 - 1 - np.arange(4), np.linspace(0, 2**32 - 1, 9999)]).astype(np.uint32)


def right_radii(words: np.ndarray) -> np.ndarray:
    uniform = (words.astype(np.float32) * np.float32(2.0**-32) + np.float32(2.0**-33)).astype(np.float64)
    return np.asarray(np.sqrt(-2 * np.log(uniform)))


def test_the_radius_is_right_from_end_to_end() -> None:
    words = extreme_words()
    made = box_muller(torch.from_numpy(words.view(np.int32)), torch.zeros(len(words), dtype=torch.int32), torch.float32)
    np.testing.assert_allclose(made[0].numpy(), right_radii(words), rtol=2e-6, atol=1e-7)
    assert made[0].max().item() == pytest.approx(math.sqrt(66 * math.log(2)))
    assert made[0].min() == 0
    assert (made[1] == 0).all()


def test_numbas_radius_is_right_from_end_to_end() -> None:
    numba = pytest.importorskip("numba")
    compiled = pytest.importorskip("pwfn.bayesian.kernels.numba_compiled")
    words = extreme_words()
    made = numba.njit(lambda words: np.array([compiled.radius(w) for w in words]))(words)
    np.testing.assert_allclose(made, right_radii(words), rtol=2e-6, atol=1e-7)
    assert made.max() == pytest.approx(math.sqrt(66 * math.log(2)))
    assert made.min() == 0


@pytest.mark.parametrize("name", IMPLEMENTATIONS)
def test_every_tensor_and_every_key_has_noise_of_its_own(name: str) -> None:
    keys, kernels = (1, 2, 2**32 + 1), implementation(name)
    drawn = list(
        itertools.chain.from_iterable(noise_of(kernels, [torch.empty(100_000)] * 2, [0, 1], key) for key in keys)
    )
    correlation = torch.corrcoef(torch.stack(drawn)) - torch.eye(len(drawn))
    assert correlation.abs().max() < 5 / math.sqrt(100_000)
