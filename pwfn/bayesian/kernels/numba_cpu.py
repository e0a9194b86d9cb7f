"""A draw of weights and its gradients on the CPU, each in one pass over the weights, compiled by Numba when first used.

The noise is a function of a key, the number of the tensor and the place in it (Threefry2x32-20, Salmon et al. 2011,
doi:10.1145/2063384.2063405): a backward pass makes it anew, and nobody has to keep it. Numbers become normal by Box and
Muller's method (1958, doi:10.1214/aoms/1177706645) in single precision, up to 6.7 standard deviations from 0.

A kernel goes over tensors, which are contiguous and of float32, as over one row of spans; masks are bytes, 1 where a
weight is free. It takes one portion of spans after the other until none is left, so that any number of threads may run
it on the same job at once. What is computed is said in `pwfn.bayesian.kernels.calls`. All are in this file, because the compiled code that
Numba keeps is thrown away only when the file changes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numba
import numpy as np
from numba import float32, float64, int32, uint8, uint32, uint64
from numpy.polynomial import Chebyshev, Polynomial

SPAN = 1024  # numbers that are made at once: they stay in the fastest cache
HALF = SPAN // 2  # Threefry gives two at a time
PORTION = 32  # spans that a thread takes at once
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


@_inner
def rotate(a, b, by):  # type: ignore[no-untyped-def]
    """One round: the sum, and b turned left by so many bits and mixed with it."""
    a = uint32(a + b)
    return a, uint32(uint32(uint32(b << uint32(by)) | uint32(b >> uint32(32 - by))) ^ a)


@_inner
def threefry(a, b, k0, k1):  # type: ignore[no-untyped-def]
    """Two random uint32 from a counter of two and a key of two; 20 rounds, written out so that they are vectorized."""
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


# A tensor: its number, size and first span; the addresses of what is written and read, and of its mask (0: none); of a
# backward pass whether fixed sigmas train on, and the regularizer's ceiling and pull (the factor, for `add_masked`).
ROW = np.dtype(
    [(name, np.int64) for name in ("number", "size", "first", "out", "given", "sigma", "free", "retrained")]
    + [("ceiling", np.float32), ("pull", np.float32)]
)
# What the threads share: how many portions of spans are taken, of how many spans; the tensors; where sums of spans go.
JOB = np.dtype([(name, np.int64) for name in ("taken", "spans", "tensors", "table", "sums")] + [("key", np.uint64)])


@numba.extending.intrinsic
def next_portion(context, job):  # type: ignore[no-untyped-def]
    """Its number: nobody else gets it."""

    def code(target, builder, signature, arguments):  # type: ignore[no-untyped-def]
        integer = target.get_value_type(signature.return_type)
        counter = builder.bitcast(arguments[0], integer.as_pointer())
        return builder.atomic_rmw("add", counter, integer(1), "monotonic")

    return numba.int64(job), code


def _pointer(kind: Any) -> Any:
    """What `numba.carray` wants instead of an address."""
    result = numba.types.CPointer(kind)  # type: ignore[no-untyped-call]

    @numba.extending.intrinsic
    def pointer(context, address):  # type: ignore[no-untyped-def]
        def code(target, builder, signature, arguments):  # type: ignore[no-untyped-def]
            return builder.inttoptr(arguments[0], target.get_value_type(result))

        return result(address), code

    return pointer


_rows, _floats, _bytes, _doubles = (_pointer(kind) for kind in (numba.from_dtype(ROW), float32, uint8, float64))


@_inner
def tensors(job):  # type: ignore[no-untyped-def]
    return numba.carray(_rows(job.table), (job.tensors,))


@_inner
def numbers(address, start, stop):  # type: ignore[no-untyped-def]
    return numba.carray(_floats(address + 4 * start), (stop - start,))


@_inner
def mask(address, start, stop):  # type: ignore[no-untyped-def]
    return numba.carray(_bytes(address + start), (stop - start if address else 0,))


@_inner
def places(shared, rows):  # type: ignore[no-untyped-def]
    """The spans that fall to this thread: the tensor, the span in it, and the numbers that are its."""
    spans, tensor = numba.carray(shared, 1)[0].spans, 0
    while True:
        first = next_portion(shared) * PORTION  # type: ignore[call-arg]
        if first >= spans:
            break
        for span in range(first, min(first + PORTION, spans)):
            while tensor + 1 < rows.size and span >= rows[tensor + 1].first:
                tensor += 1
            own = span - rows[tensor].first
            yield tensor, own, own * SPAN, min((own + 1) * SPAN, rows[tensor].size)


def fill(shared):  # type: ignore[no-untyped-def]
    job = numba.carray(shared, 1)[0]
    rows = tensors(job)
    eps, bits = np.empty(SPAN, np.float32), np.empty((2, HALF), np.uint32)
    for tensor, span, start, stop in places(shared, rows):
        normal(eps, bits, span, job.key, rows[tensor].number)
        numbers(rows[tensor].out, start, stop)[:] = eps[: stop - start]


def draw(shared):  # type: ignore[no-untyped-def]
    job = numba.carray(shared, 1)[0]
    rows, sums = tensors(job), numba.carray(_doubles(job.sums), (job.spans,))
    eps, bits = np.empty(SPAN, np.float32), np.empty((2, HALF), np.uint32)
    for tensor, span, start, stop in places(shared, rows):
        row = rows[tensor]
        normal(eps, bits, span, job.key, row.number)
        w, m, s = numbers(row.out, start, stop), numbers(row.given, start, stop), numbers(row.sigma, start, stop)
        for j in range(w.size):
            w[j] = m[j] + (MIN_SIGMA if s[j] < MIN_SIGMA else s[j]) * eps[j]
        f = mask(row.free, start, stop)
        for j in range(f.size):
            eps[j] *= float32(f[j])
        gaps, ceiling = float32(0), row.ceiling
        for j in range(w.size):
            gap = float32(0) if s[j] > ceiling else ceiling - s[j]
            gaps += gap * gap * abs(eps[j])
        sums[row.first + span] = gaps


def gradients(shared):  # type: ignore[no-untyped-def]
    job = numba.carray(shared, 1)[0]
    rows = tensors(job)
    eps, bits = np.empty(SPAN, np.float32), np.empty((2, HALF), np.uint32)
    for tensor, span, start, stop in places(shared, rows):
        row = rows[tensor]
        normal(eps, bits, span, job.key, row.number)
        o, g, s = numbers(row.out, start, stop), numbers(row.given, start, stop), numbers(row.sigma, start, stop)
        f = mask(row.free, start, stop)
        if not row.retrained:
            for j in range(f.size):
                eps[j] *= float32(f[j])
        for j in range(o.size):
            o[j] = float32(0) if s[j] < MIN_SIGMA else g[j] * eps[j]
        if row.retrained:
            for j in range(f.size):
                eps[j] *= float32(f[j])
        ceiling, pull = row.ceiling, row.pull
        for j in range(o.size):
            gap = float32(0) if s[j] > ceiling else ceiling - s[j]
            o[j] -= pull * gap * abs(eps[j])
        for j in range(f.size):
            g[j] *= float32(f[j])


def add_masked(shared):  # type: ignore[no-untyped-def]
    rows = tensors(numba.carray(shared, 1)[0])
    for tensor, _, start, stop in places(shared, rows):
        row = rows[tensor]
        total, values, factor = numbers(row.out, start, stop), numbers(row.given, start, stop), row.pull
        free = mask(row.free, start, stop)
        for j in range(free.size):
            total[j] += factor * values[j] * float32(free[j])


@cache
def compiled(kernel: Callable[..., None]) -> Any:
    """A kernel as a C function of the address of a `JOB`; what one call computes other threads may help with."""
    signature = numba.void(numba.types.CPointer(numba.from_dtype(JOB)))  # type: ignore[no-untyped-call]
    return numba.cfunc(signature, cache=_cache_is_writable(), **_FAST)(kernel)
