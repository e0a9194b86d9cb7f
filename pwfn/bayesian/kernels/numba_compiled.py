"""Draw weights and compute gradients on the CPU in one pass over a tensor, compiled by Numba.

The noise is that of `pwfn.bayesian.kernels.noise`, in single precision. All compiled code is in this file, because
Numba discards what it has compiled only when the file itself changes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numba import float32, int32, uint32, uint64
from numpy.polynomial import Chebyshev, Polynomial

SPAN = 1024  # numbers that are computed at once: they stay in the fastest cache
HALF = SPAN // 2  # Threefry gives two at a time
MIN_SIGMA = float32(2.0**-30)


def _polynomial(function: Callable[[Any], Any], low: float, high: float, degree: int) -> tuple[Any, ...]:
    """Fit a polynomial to a function between two bounds; return its coefficients, highest power first."""
    close = Chebyshev.interpolate(function, degree, domain=[low, high]).convert(kind=Polynomial)
    return tuple(float32(c) for c in close.coef[::-1])


# log(1 + m) = m - m^2 / 2 + m^3 * LOG(m);  sin t = t * SIN(t^2);  cos t = COS(t^2)
LOG = _polynomial(lambda m: (np.log1p(m) - m + m * m / 2) / m**3, math.sqrt(0.5) - 1, math.sqrt(2) - 1, 8)
SIN = _polynomial(lambda z: np.sin(np.sqrt(z)) / np.sqrt(z), 0, (math.pi / 4) ** 2, 4)
COS = _polynomial(lambda z: np.cos(np.sqrt(z)), 0, (math.pi / 4) ** 2, 4)


def _cache_is_writable() -> bool:
    try:
        numba.njit(cache=True)(_cache_is_writable)
    except RuntimeError:  # neither beside this file nor in the user's cache folder
        return False
    return True


# Not all of fastmath: what is not a number must stay so.
_FAST: dict[str, Any] = {"fastmath": {"nsz", "contract", "reassoc", "arcp"}, "error_model": "numpy"}
_inner = numba.njit(**_FAST)
_kernel = numba.njit(cache=_cache_is_writable(), **_FAST)


@_inner
def rotate(a, b, by):  # type: ignore[no-untyped-def]
    """Do one round: add, turn b left by `by` bits, and mix the two."""
    a = uint32(a + b)
    return a, uint32(uint32(uint32(b << uint32(by)) | uint32(b >> uint32(32 - by))) ^ a)


@_inner
def four_rounds(a, b, first, second, third, fourth):  # type: ignore[no-untyped-def]
    """Turn b left by these numbers of bits in turn."""
    a, b = rotate(a, b, first)
    a, b = rotate(a, b, second)
    a, b = rotate(a, b, third)
    return rotate(a, b, fourth)


@_inner
def threefry(a, b, k0, k1):  # type: ignore[no-untyped-def]
    """Make two random uint32 from a counter of two and a key of two, in 20 rounds that are vectorized."""
    k2 = uint32(k0 ^ k1 ^ uint32(0x1BD11BDA))
    a, b = four_rounds(uint32(a + k0), uint32(b + k1), 13, 15, 26, 6)
    a, b = four_rounds(uint32(a + k1), uint32(b + k2 + uint32(1)), 17, 29, 16, 24)
    a, b = four_rounds(uint32(a + k2), uint32(b + k0 + uint32(2)), 13, 15, 26, 6)
    a, b = four_rounds(uint32(a + k0), uint32(b + k1 + uint32(3)), 17, 29, 16, 24)
    a, b = four_rounds(uint32(a + k1), uint32(b + k2 + uint32(4)), 13, 15, 26, 6)
    return uint32(a + k2), uint32(b + k0 + uint32(5))


@_inner
def radius(x):  # type: ignore[no-untyped-def]
    """Compute `sqrt(-2 log u)` for u = (x + 1/2) / 2^32, x a uint32."""
    u = float32(x) * float32(2.0**-32) + float32(2.0**-33)
    bits = np.float32(u).view(np.int32)
    exponent = int32(int32(bits >> int32(23)) - int32(126))
    m = np.int32(int32(bits & int32(0x007FFFFF)) | int32(0x3F000000)).view(np.float32)  # from 1/2 to 1
    low = m < float32(math.sqrt(0.5))
    exponent = int32(exponent - (int32(1) if low else int32(0)))
    m = (m + m if low else m) - float32(1)
    rest = (((LOG[0] * m + LOG[1]) * m + LOG[2]) * m + LOG[3]) * m + LOG[4]
    rest = (((rest * m + LOG[5]) * m + LOG[6]) * m + LOG[7]) * m + LOG[8]
    log = m - m * m * (float32(0.5) - m * rest) + float32(exponent) * float32(math.log(2))
    return np.sqrt(float32(-2) * log if log < float32(0) else float32(0))


@_inner
def circle(x):  # type: ignore[no-untyped-def]
    """Compute cosine and sine of the angle `2 pi x / 2^32`, x a uint32."""
    quadrant = uint32(uint32(x + uint32(1 << 29)) >> uint32(30))
    t = float32(int32(uint32(x - uint32(quadrant << uint32(30))))) * float32(2 * math.pi / 2**32)
    z = t * t
    sine = t * ((((SIN[0] * z + SIN[1]) * z + SIN[2]) * z + SIN[3]) * z + SIN[4])
    cosine = (((COS[0] * z + COS[1]) * z + COS[2]) * z + COS[3]) * z + COS[4]
    odd = (quadrant & uint32(1)) != 0
    x_axis = sine if odd else cosine
    y_axis = cosine if odd else sine
    x_axis = -x_axis if (uint32(quadrant + uint32(1)) & uint32(2)) != 0 else x_axis
    y_axis = -y_axis if (quadrant & uint32(2)) != 0 else y_axis
    return x_axis, y_axis


@_inner
def normal(eps, bits, span, key, number):  # type: ignore[no-untyped-def]
    """Make the normal numbers of span `span` of tensor `number`; `bits` (uint32 [2, HALF]) is scratch."""
    k0, k1 = uint32(key), uint32(key >> uint64(32))
    first = uint32(span * HALF)
    words, more = bits[0], bits[1]
    for j in range(HALF):
        words[j], more[j] = threefry(uint32(first + uint32(j)), uint32(number), k0, k1)
    for j in range(HALF):
        r = radius(words[j])
        x, y = circle(more[j])
        eps[j] = r * x
        eps[HALF + j] = r * y


@_kernel
def draw(w, mu, sigma, free, ceiling, key, number):  # type: ignore[no-untyped-def]
    """Put the draw into `w`; return the sum of `relu(ceiling - sigma)^2 * |eps|` over the free weights.

    `free` holds a byte for each weight, 1 where it is free, or nothing where all are.
    """
    eps, bits = np.empty(SPAN, np.float32), np.empty((2, HALF), np.uint32)
    total = 0.0
    for start in range(0, w.size, SPAN):
        normal(eps, bits, start // SPAN, key, number)
        o, m, s = w[start : start + SPAN], mu[start : start + SPAN], sigma[start : start + SPAN]
        for j in range(o.size):
            o[j] = m[j] + (MIN_SIGMA if s[j] < MIN_SIGMA else s[j]) * eps[j]
        f = free[start : start + SPAN]
        for j in range(f.size):
            eps[j] *= float32(f[j])
        gaps = float32(0)
        for j in range(o.size):
            gap = float32(0) if s[j] > ceiling else ceiling - s[j]
            gaps += gap * gap * abs(eps[j])
        total += float(gaps)
    return total


@_kernel
def sigma_gradients(made, grad, sigma, free, retrained, ceiling, pull, key, number):  # type: ignore[no-untyped-def]
    """Put the gradients into `made`.

    `pull` is the regularizer's strength times the penalty's gradient; `retrained` says that all sigmas train.
    """
    eps, bits = np.empty(SPAN, np.float32), np.empty((2, HALF), np.uint32)
    for start in range(0, grad.size, SPAN):
        normal(eps, bits, start // SPAN, key, number)
        o, g, s = made[start : start + SPAN], grad[start : start + SPAN], sigma[start : start + SPAN]
        f = free[start : start + SPAN]
        if not retrained:
            for j in range(f.size):
                eps[j] *= float32(f[j])
        for j in range(o.size):
            o[j] = float32(0) if s[j] < MIN_SIGMA else g[j] * eps[j]
        if retrained:
            for j in range(f.size):
                eps[j] *= float32(f[j])
        for j in range(o.size):
            gap = float32(0) if s[j] > ceiling else ceiling - s[j]
            o[j] -= pull * gap * abs(eps[j])


@_kernel
def keep_free(total, free):  # type: ignore[no-untyped-def]
    """Multiply `total` by 0 where a weight is fixed."""
    for j in range(total.size):
        total[j] *= float32(free[j])


@_kernel
def add_masked(total, values, free, factor):  # type: ignore[no-untyped-def]
    """Add `factor * values` to `total` in the mask `free`."""
    for j in range(total.size):
        total[j] += factor * values[j] * float32(free[j])


@_kernel
def fill_noise(out, key, number):  # type: ignore[no-untyped-def]
    """Put the noise of tensor `number` into `out`."""
    eps, bits = np.empty(SPAN, np.float32), np.empty((2, HALF), np.uint32)
    for start in range(0, out.size, SPAN):
        normal(eps, bits, start // SPAN, key, number)
        o = out[start : start + SPAN]
        o[:] = eps[: o.size]
