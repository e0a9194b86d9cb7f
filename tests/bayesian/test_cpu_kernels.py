"""The CPU's kernels against naive arithmetic, against torch's operations, and whatever the number of threads."""

from __future__ import annotations

import itertools
import math
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numba
import numpy as np
import pytest
import torch
from torch import Tensor

from pwfn.bayesian.kernels import calls, numba_cpu, threads
from pwfn.bayesian.prior import MIN_SIGMA
from pwfn.bayesian.regularizer import LinearRegularizer, NoRegularizer, Regularizer
from pwfn.bayesian.sampling import Draw, Noise, Source, draw

SIZES = [1, 511, 1025, 300_001]  # within a span, over its end, and enough for several threads


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@numba.njit
def threefry(a: int, b: int, k0: int, k1: int) -> tuple[int, int]:
    made: tuple[int, int] = numba_cpu.threefry(np.uint32(a), np.uint32(b), np.uint32(k0), np.uint32(k1))
    return made


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


def test_threefry_gives_its_authors_known_answers() -> None:
    ones = 0xFFFFFFFF
    for function in (threefry, naive_threefry):
        assert function(0, 0, 0, 0) == (0x6B200159, 0x99BA4EFE)
        assert function(ones, ones, ones, ones) == (0x1CB996FC, 0xBB002BE7)
        assert function(0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344) == (0xC4923A9C, 0x483DF7A0)


def naive_noise(size: int, key: int, number: int) -> list[float]:
    noise = []
    for start in range(0, size, 1024):
        pairs = [
            naive_threefry(start // 2 + j, number, key % 2**32, key // 2**32) for j in range(min(512, size - start))
        ]
        polar = [(math.sqrt(-2 * math.log((a + 0.5) / 2**32)), 2 * math.pi * b / 2**32) for a, b in pairs]
        noise += [r * math.cos(angle) for r, angle in polar] + [r * math.sin(angle) for r, angle in polar]
    return noise[:size]


def test_the_smallest_sigma_is_the_priors() -> None:
    assert float(numba_cpu.MIN_SIGMA) == MIN_SIGMA


def test_noise_is_threefry_and_box_and_muller() -> None:
    out = torch.empty(2500)
    calls.fill_normal(out, 0xFEDCBA9876543210, 7)
    expected = torch.tensor(naive_noise(2500, 0xFEDCBA9876543210, 7), dtype=torch.float64)
    torch.testing.assert_close(out.double(), expected, rtol=2e-6, atol=1e-6)


def test_the_radius_is_right_from_end_to_end() -> None:
    words = np.concatenate([np.arange(4), 2**32 - 1 - np.arange(4), np.linspace(0, 2**32 - 1, 9999)]).astype(np.uint32)
    made = numba.njit(lambda words: np.array([numba_cpu.radius(w) for w in words]))(words)
    u = (words.astype(np.float32) * np.float32(2.0**-32) + np.float32(2.0**-33)).astype(np.float64)
    np.testing.assert_allclose(made, np.sqrt(-2 * np.log(u)), rtol=2e-6, atol=1e-7)
    assert made.max() == pytest.approx(math.sqrt(66 * math.log(2))) and made.min() == 0


def test_every_tensor_and_every_key_has_noise_of_its_own() -> None:
    drawn = []
    for key, number in itertools.product((1, 2, 2**32 + 1), (0, 1)):
        out = torch.empty(100_000)
        calls.fill_normal(out, key, number)
        drawn.append(out)
    correlation = torch.corrcoef(torch.stack(drawn)) - torch.eye(len(drawn))
    assert correlation.abs().max() < 5 / math.sqrt(100_000)


def values(size: int) -> dict[str, Tensor]:
    """Sigmas on both sides of the ceiling and of 2^-30, gradients, and a mask."""
    numbers = torch.Generator().manual_seed(size)
    sigma = torch.rand(size, generator=numbers) * 0.1
    sigma[::7] *= -1
    return {
        "mu": torch.randn(size, generator=numbers),
        "sigma": sigma,
        "grad": torch.randn(size, generator=numbers),
        "free": torch.rand(size, generator=numbers) < 0.4,
    }


def results(rule: Regularizer, size: int, masked: bool, retrained: bool, *, by_kernels: bool) -> tuple[Tensor, ...]:
    """Weights, penalty, and the gradients of mu and sigma, where the loss is `grad * weights + 3 * penalty`."""
    given = values(size)
    mu, sigma = (given[name].clone().requires_grad_() for name in ("mu", "sigma"))
    free = given["free"] if masked else None
    masks = free, None if retrained else free
    noise = Noise(key=123456789123456789, number=4)
    if by_kernels:
        (weight,), penalty = draw([Source(mu, sigma, *masks, rule)], [noise])
        assert weight.grad_fn is not None and "FusedDraw" in type(weight.grad_fn).__name__
    else:
        weight, penalty = Draw.apply(mu, sigma, noise.like(mu), *masks, rule)
    (weight @ given["grad"] + 3 * penalty).backward()
    assert mu.grad is not None and sigma.grad is not None
    return weight.detach(), penalty.detach(), mu.grad, sigma.grad


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("retrained", [False, True])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    "rule", [NoRegularizer(), LinearRegularizer(0.3, 0.05), LinearRegularizer(0.3, 1.0)], ids=["none", "some", "all"]
)
def test_a_fused_draw_is_that_of_torchs_operations(rule: Regularizer, size: int, retrained: bool, masked: bool) -> None:
    made_by = [results(rule, size, masked, retrained, by_kernels=kernels) for kernels in (True, False)]
    for made, expected in zip(*made_by, strict=True):
        torch.testing.assert_close(made, expected, rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize("team", [True, False], ids=["torchs threads", "own threads"])
def test_the_number_of_threads_changes_no_bit(team: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not team:
        monkeypatch.setattr(threads, "_team", lambda: None)
    elif threads._team() is None:
        pytest.skip("this torch computes without OpenMP")
    made = []
    for count in (1, 2, 3):
        torch.set_num_threads(count)
        made.append(results(LinearRegularizer(0.3, 0.05), SIZES[-1], True, False, by_kernels=True))
    for other in made[1:]:
        assert all(torch.equal(a, b) for a, b in zip(made[0], other, strict=True))


@pytest.mark.skipif(
    not list((Path(torch.__file__).parent / "lib").glob("libgomp*")), reason="this torch brings no OpenMP of its own"
)
def test_torchs_own_threads_compute() -> None:
    assert threads._team() is not None


def test_a_pool_is_waited_for_even_when_it_is_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its threads write to memory that is the caller's."""
    monkeypatch.setattr(threads, "_team", lambda: None)
    caller, events = threading.get_ident(), []

    class Function:
        @staticmethod
        def ctypes(address: int) -> None:
            if threading.get_ident() == caller:
                raise KeyboardInterrupt
            time.sleep(0.2)
            events.append(address)

    with pytest.raises(KeyboardInterrupt):
        threads.run(Function, 7, 3)
    assert events == [7, 7]


def test_small_tensors_are_drawn_in_one_go_and_large_ones_alone() -> None:
    mus = [torch.zeros(size, requires_grad=True) for size in (10, calls.ENOUGH, 20)]
    sources = [Source(mu, torch.ones_like(mu, requires_grad=True), None, None, NoRegularizer()) for mu in mus]
    first, large, last = draw(sources, Noise.fresh(mus))[0]
    assert first.grad_fn is last.grad_fn is not large.grad_fn


def test_tensors_drawn_together_are_those_drawn_one_by_one() -> None:
    """Some masked, some without sigmas to train, one that no loss reaches, one of several spans."""
    sizes, rules = (
        (3, 1500, 0, 70_000, 9),
        (
            LinearRegularizer(0.3, 0.05),
            LinearRegularizer(0.3, 1.0),
            NoRegularizer(),
            LinearRegularizer(2, 0.05),
            LinearRegularizer(),
        ),
    )

    def gradients(groups: list[list[int]]) -> list[Tensor | None]:
        mus = [values(size)["mu"].requires_grad_() for size in sizes]
        sigmas = [values(size)["sigma"].requires_grad_(size != 9) for size in sizes]
        masks = [values(size)["free"] if size % 2 else None for size in sizes]
        sources = [Source(*row) for row in zip(mus, sigmas, masks, (masks[0], None, *masks[2:]), rules, strict=True)]
        for group in groups:
            weights, penalty = draw([sources[i] for i in group], [Noise(5, i) for i in group])
            of_data = [w @ values(sizes[i])["grad"] for i, w in zip(group, weights, strict=True) if i != 3]
            sum(of_data, 3 * penalty).backward()
        return [tensor.grad for tensor in (*mus, *sigmas)]

    together, alone = gradients([[0, 1, 2, 3, 4]]), gradients([[0], [1], [2], [3], [4]])
    assert [grad is None for grad in alone] == [False] * 9 + [True]
    for made, expected in zip(together, alone, strict=True):
        assert made is expected or (made is not None and expected is not None and torch.equal(made, expected))


@pytest.mark.parametrize("name", ["mu", "sigma", "grad"])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_no_number_stays_so(name: str, bad: float) -> None:
    given = values(2000)
    given[name][3] = bad
    piece = calls.Piece(0, given["mu"], given["sigma"], None, retrained=False, strength=0.1, ceiling=0.05)
    (weight,), total = calls.draw([piece], 1)
    (mu_grad,), (sigma_grad,) = calls.gradients([piece], [given["grad"]], [False], 1.0, 1)
    wrong = {"mu": weight, "sigma": weight, "grad": sigma_grad}[name]
    assert not torch.isfinite(wrong[3]) and int(torch.isfinite(wrong).sum()) == 1999
    if name == "sigma" and math.isnan(bad):
        assert math.isnan(total) and torch.isnan(sigma_grad[3])
    assert mu_grad is given["grad"]


def test_a_folder_that_takes_no_compiled_code_is_put_up_with(monkeypatch: pytest.MonkeyPatch) -> None:
    assert numba_cpu._cache_is_writable() is True

    def refuse(**options: object) -> None:
        raise RuntimeError("cannot cache function: no locator available")

    monkeypatch.setattr(numba, "njit", refuse)
    assert numba_cpu._cache_is_writable() is False


@pytest.mark.parametrize("size", SIZES)
def test_masked_addition(size: int) -> None:
    given = values(size)
    total = given["mu"].clone()
    calls.add_masked([(total, given["grad"], given["free"])], -0.3)
    torch.testing.assert_close(total, given["mu"] - 0.3 * given["grad"] * given["free"])
    assert torch.equal(total[~given["free"]], given["mu"][~given["free"]])
