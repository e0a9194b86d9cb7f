"""A draw of weights and its gradients on the CPU, each in one pass over the weights, compiled by Numba when first used.

The noise is a function of a key, the number of the tensor and the place in it (Threefry2x32-20, Salmon et al. 2011,
doi:10.1145/2063384.2063405): a backward pass makes it anew, and nobody has to keep it. Numbers become normal by Box and
Muller's method (1958, doi:10.1214/aoms/1177706645) in single precision, up to 6.7 standard deviations from 0.

Arrays are flat and contiguous, of float32; `free` (uint8) is 1 where a weight is free, and empty where all are. A kernel
works on the spans from `first` to `last`; what it computes is said in `pwfn.fused`. All are in this file, because the
compiled code that Numba keeps is thrown away only when the file changes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numba import float32, int32, uint32, uint64
from numpy.polynomial import Chebyshev, Polynomial

SPAN = 1024  # numbers that are made at once: they stay in the fastest cache
HALF = SPAN // 2  # Threefry gives two at a time
MIN_SIGMA = float32(2.0**-30)


def _polynomial(function: Callable[[Any], Any], low: float, high: float, degree: int) -> tuple[Any, ...]:
    """Coefficients, that of the highest power first, of a polynomial close to a function between two bounds."""
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
_kernel = numba.njit(nogil=True, cache=_cache_is_writable(), **_FAST)


@_inner
def rotate(a, b, by):  # type: ignore[no-untyped-def]
    """One round: the sum, and b turned left by so many bits and mixed with it."""
    a = uint32(a + b)
    return a, uint32(uint32(uint32(b << uint32(by)) | uint32(b >> uint32(32 - by))) ^ a)


@_inner
def threefry(a, b, k0, k1):  # type: ignore[no-untyped-def]
    """Two random uint32 from a counter of two and a key of two; 20 rounds, written out so that they are vectorised."""
    k2 = uint32(k0 ^ k1 ^ uint32(0x1BD11BDA))
    a, b = uint32(a + k0), uint32(b + k1)
    a, b = rotate(a, b, 13)
    a, b = rotate(a, b, 15)
    a, b = rotate(a, b, 26)
    a, b = rotate(a, b, 6)
    a, b = uint32(a + k1), uint32(b + k2 + uint32(1))
    a, b = rotate(a, b, 17)
    a, b = rotate(a, b, 29)
    a, b = rotate(a, b, 16)
    a, b = rotate(a, b, 24)
    a, b = uint32(a + k2), uint32(b + k0 + uint32(2))
    a, b = rotate(a, b, 13)
    a, b = rotate(a, b, 15)
    a, b = rotate(a, b, 26)
    a, b = rotate(a, b, 6)
    a, b = uint32(a + k0), uint32(b + k1 + uint32(3))
    a, b = rotate(a, b, 17)
    a, b = rotate(a, b, 29)
    a, b = rotate(a, b, 16)
    a, b = rotate(a, b, 24)
    a, b = uint32(a + k1), uint32(b + k2 + uint32(4))
    a, b = rotate(a, b, 13)
    a, b = rotate(a, b, 15)
    a, b = rotate(a, b, 26)
    a, b = rotate(a, b, 6)
    a, b = uint32(a + k2), uint32(b + k0 + uint32(5))
    return a, b


@_inner
def radius(x):  # type: ignore[no-untyped-def]
    """`sqrt(-2 log u)` for u = (x + 1/2) / 2^32, x a uint32."""
    u = float32(x) * float32(2.0**-32) + float32(2.0**-33)
    bits = np.float32(u).view(np.int32)
    exponent = int32(int32(bits >> int32(23)) - int32(126))
    m = np.int32(int32(bits & int32(0x007FFFFF)) | int32(0x3F000000)).view(np.float32)  # from 1/2 to 1
    low = m < float32(math.sqrt(0.5))
    exponent = int32(exponent - (int32(1) if low else int32(0)))
    m = (m + m if low else m) - float32(1)
    rest = LOG[0]
    rest = rest * m + LOG[1]
    rest = rest * m + LOG[2]
    rest = rest * m + LOG[3]
    rest = rest * m + LOG[4]
    rest = rest * m + LOG[5]
    rest = rest * m + LOG[6]
    rest = rest * m + LOG[7]
    rest = rest * m + LOG[8]
    log = m - m * m * (float32(0.5) - m * rest) + float32(exponent) * float32(math.log(2))
    return np.sqrt(float32(-2) * log if log < float32(0) else float32(0))


@_inner
def circle(x):  # type: ignore[no-untyped-def]
    """Cosine and sine of the angle `2 pi x / 2^32`, x a uint32."""
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
    """The `SPAN` normal numbers of span `span` of tensor `number`; `bits` (uint32 [2, HALF]) is room to work in."""
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
def fill(first, last, key, number, out):  # type: ignore[no-untyped-def]
    eps, bits = np.empty(SPAN, np.float32), np.empty((2, HALF), np.uint32)
    for span in range(first, last):
        start, stop = span * SPAN, min((span + 1) * SPAN, out.size)
        normal(eps, bits, span, key, number)
        out[start:stop] = eps[: stop - start]


@_kernel
def draw(first, last, key, number, mu, sigma, free, ceiling, out, penalties):  # type: ignore[no-untyped-def]
    eps, bits = np.empty(SPAN, np.float32), np.empty((2, HALF), np.uint32)
    for span in range(first, last):
        start, stop = span * SPAN, min((span + 1) * SPAN, out.size)
        normal(eps, bits, span, key, number)
        m, s, w = mu[start:stop], sigma[start:stop], out[start:stop]
        for j in range(w.size):
            w[j] = m[j] + (MIN_SIGMA if s[j] < MIN_SIGMA else s[j]) * eps[j]
        f = free[start:stop]
        for j in range(f.size):
            eps[j] *= float32(f[j])
        penalty = float32(0)
        for j in range(w.size):
            gap = float32(0) if s[j] > ceiling else ceiling - s[j]
            penalty += gap * gap * abs(eps[j])
        penalties[span] = penalty


@_kernel
def gradients(first, last, key, number, grad, sigma, free, retrained, ceiling, pull, out):  # type: ignore[no-untyped-def]
    eps, bits = np.empty(SPAN, np.float32), np.empty((2, HALF), np.uint32)
    for span in range(first, last):
        start, stop = span * SPAN, min((span + 1) * SPAN, out.size)
        normal(eps, bits, span, key, number)
        g, s, o, f = grad[start:stop], sigma[start:stop], out[start:stop], free[start:stop]
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
        for j in range(f.size):
            g[j] *= float32(f[j])


@_kernel
def add_masked(first, last, total, values, free, factor):  # type: ignore[no-untyped-def]
    for j in range(first * SPAN, min(last * SPAN, total.size)):
        total[j] += factor * values[j] * float32(free[j])
