"""Compute all tensors of a table of addresses in one launch on a GPU, a block a program.

The noise is that of `pwfn.bayesian.kernels.noise`, in single precision. A row of the table is one tensor; its columns
are the constants below. Programs find their row, and their block of the tensor, in two further tables.
"""

# mypy: disable-error-code="import-untyped, no-untyped-def, untyped-decorator, no-untyped-call"
# the types of compiled functions are Triton's

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl

HALF: tl.constexpr = tl.constexpr(512)  # of a span of noise: the cosines, then the sines, of so many pairs of words
MIN_SIGMA: tl.constexpr = tl.constexpr(2.0**-30)

COLUMNS = 12
# addresses; FREE is that of a byte for each weight, or 0 where all are free
OUT: tl.constexpr = tl.constexpr(0)
FIRST: tl.constexpr = tl.constexpr(1)
SIGMA: tl.constexpr = tl.constexpr(2)
FREE: tl.constexpr = tl.constexpr(3)
SIZE: tl.constexpr = tl.constexpr(4)  # how many numbers, below 2^31
NUMBER: tl.constexpr = tl.constexpr(5)  # which noise
CHANNELS: tl.constexpr = tl.constexpr(6)  # of a tensor that may lie in memory with its channels last
PIXELS: tl.constexpr = tl.constexpr(7)
LAYOUTS: tl.constexpr = tl.constexpr(8)  # bit i: the tensor at address i has its channels last
CEILING: tl.constexpr = tl.constexpr(9)  # of the regularizer, the bits of a float32
STRENGTH: tl.constexpr = tl.constexpr(10)  # the same
RETRAINED: tl.constexpr = tl.constexpr(11)  # 1 where the sigmas of fixed weights go on training

_compiled: Any = triton.jit
_keyed: Any = triton.jit(do_not_specialize=["k0", "k1"])  # keys whose words are 1, or even, compile nothing anew


@_compiled
def _rotate(a, b, by: tl.constexpr):
    a = a + b
    return a, ((b << by) | (b >> (32 - by))) ^ a


@_compiled
def _four_rounds(a, b, first: tl.constexpr, second: tl.constexpr, third: tl.constexpr, fourth: tl.constexpr):
    a, b = _rotate(a, b, first)
    a, b = _rotate(a, b, second)
    a, b = _rotate(a, b, third)
    return _rotate(a, b, fourth)


@_compiled
def _threefry(a, b, k0, k1):
    """Compute Threefry2x32-20 of the counters a and b."""
    k2 = k0 ^ k1 ^ 0x1BD11BDA
    a, b = _four_rounds(a + k0, b + k1, 13, 15, 26, 6)
    a, b = _four_rounds(a + k1, b + k2 + 1, 17, 29, 16, 24)
    a, b = _four_rounds(a + k2, b + k0 + 2, 13, 15, 26, 6)
    a, b = _four_rounds(a + k0, b + k1 + 3, 17, 29, 16, 24)
    a, b = _four_rounds(a + k1, b + k2 + 4, 13, 15, 26, 6)
    return a + k2, b + k0 + 5


@_compiled
def _normal(block, number, k0, k1, pairs: tl.constexpr):
    """Compute cosines and sines of a block of noise; the key's words are int32 that stand for uint32."""
    first = (block * pairs + tl.arange(0, pairs)).to(tl.uint32, bitcast=True)
    zeros = tl.full((pairs,), 0, tl.int32)
    second = zeros + number
    k0 = (zeros + k0).to(tl.uint32, bitcast=True)
    k1 = (zeros + k1).to(tl.uint32, bitcast=True)
    a, b = _threefry(first, second.to(tl.uint32, bitcast=True), k0, k1)
    uniform = a.to(tl.float32) * (2.0**-32) + (2.0**-33)
    radius = tl.sqrt(tl.maximum(tl.log(uniform) * -2.0, 0.0))
    quadrant = (b + 0x20000000) >> 30  # the nearest quarter turn
    angle = (b - (quadrant << 30)).to(tl.int32, bitcast=True).to(tl.float32) * (2 * 3.141592653589793 / 2**32)
    cosine = tl.cos(angle)
    sine = tl.sin(angle)
    odd = (quadrant & 1) != 0
    x = tl.where(odd, sine, cosine)
    y = tl.where(odd, cosine, sine)
    x = tl.where(((quadrant + 1) & 2) != 0, -x, x)
    y = tl.where((quadrant & 2) != 0, -y, y)
    return x * radius, y * radius


@_compiled
def _row(table, owners, blocks, columns: tl.constexpr):
    """Return the row of this program's tensor, and the block of it that is this program's."""
    program = tl.program_id(0)
    return table + tl.load(owners + program) * columns, tl.load(blocks + program)


@_compiled
def _places(block, pairs: tl.constexpr):
    """Place the cosines of a block, counted row by row; the sines are `HALF` places further."""
    pair = block * pairs + tl.arange(0, pairs)
    return pair + (pair // HALF) * HALF


@_compiled
def _offset(place, row, operand: tl.constexpr):
    """Return where in memory the number lies that is at `place` when they are counted row by row."""
    last = ((tl.load(row + LAYOUTS) >> operand) & 1) != 0
    offset = place
    if last:
        channels = tl.load(row + CHANNELS).to(tl.int32)
        pixels = tl.load(row + PIXELS).to(tl.int32)
        inside = place % (channels * pixels)
        offset = place - inside + (inside % pixels) * channels + inside // pixels
    return offset


@_compiled
def _read(place, inside, row, operand: tl.constexpr):
    address = tl.load(row + operand).to(tl.pointer_type(tl.float32))
    return tl.load(address + _offset(place, row, operand), mask=inside, other=0.0)


@_compiled
def _write(values, place, inside, row):
    address = tl.load(row + OUT).to(tl.pointer_type(tl.float32))
    tl.store(address + _offset(place, row, OUT), values, mask=inside)


@_compiled
def _free(place, inside, row):
    """Load 1 where a weight is free, 0 where it is fixed."""
    address = tl.load(row + FREE)
    free = inside.to(tl.float32)
    if address != 0:
        pointer = address.to(tl.pointer_type(tl.int8))
        free = tl.load(pointer + _offset(place, row, FREE), mask=inside, other=0).to(tl.float32)
    return free


@_compiled
def _number(row, column: tl.constexpr):
    """Return the float32 whose bits are in a column."""
    return tl.load(row + column).to(tl.int32).to(tl.float32, bitcast=True)


@_compiled
def _gap(sigma, row):
    ceiling = _number(row, CEILING)
    return tl.where(sigma > ceiling, 0.0, ceiling - sigma)


@_compiled
def _draw_half(eps, place, row):
    """Draw the weights at `place`; return what each weight adds to the penalty."""
    inside = place < tl.load(row + SIZE).to(tl.int32)
    sigma = _read(place, inside, row, SIGMA)
    mu = _read(place, inside, row, FIRST)
    _write(mu + tl.where(sigma < MIN_SIGMA, MIN_SIGMA, sigma) * eps, place, inside, row)
    gap = _gap(sigma, row)
    return tl.where(inside, gap * gap * tl.abs(eps) * _free(place, inside, row), 0.0)


@_keyed
def draw(table, owners, blocks, penalties, k0, k1, columns: tl.constexpr, pairs: tl.constexpr):
    """Draw the weights; put strength * gap^2 * |eps|, summed over a block, into `penalties`."""
    row, block = _row(table, owners, blocks, columns)
    x, y = _normal(block, tl.load(row + NUMBER).to(tl.int32), k0, k1, pairs)
    place = _places(block, pairs)
    added = _draw_half(x, place, row) + _draw_half(y, place + HALF, row)
    tl.store(penalties + tl.program_id(0), tl.sum(added, 0) * _number(row, STRENGTH))


@_compiled
def _sigma_half(eps, place, row, scale):
    inside = place < tl.load(row + SIZE).to(tl.int32)
    sigma = _read(place, inside, row, SIGMA)
    grad = _read(place, inside, row, FIRST)
    free = _free(place, inside, row)
    of_data = eps
    if tl.load(row + RETRAINED) == 0:
        of_data = eps * free
    made = tl.where(sigma < MIN_SIGMA, 0.0, grad * of_data)
    pull = scale * _number(row, STRENGTH)
    _write(made - pull * _gap(sigma, row) * tl.abs(eps * free), place, inside, row)


@_keyed
def sigma_gradients(table, owners, blocks, scale, k0, k1, columns: tl.constexpr, pairs: tl.constexpr):
    """Put sigma's gradients into `OUT`; `FIRST` are those of the weights, `scale` that of the penalty."""
    row, block = _row(table, owners, blocks, columns)
    x, y = _normal(block, tl.load(row + NUMBER).to(tl.int32), k0, k1, pairs)
    place = _places(block, pairs)
    factor = tl.load(scale)
    _sigma_half(x, place, row, factor)
    _sigma_half(y, place + HALF, row, factor)


@_compiled
def _add_half(place, row, factor):
    inside = place < tl.load(row + SIZE).to(tl.int32)
    total = _read(place, inside, row, OUT)
    added = factor * _read(place, inside, row, FIRST)
    _write(total + added * _free(place, inside, row), place, inside, row)


@_compiled
def add_masked(table, owners, blocks, factor, columns: tl.constexpr, pairs: tl.constexpr):
    """Add `factor` (in memory) times `FIRST` to `OUT` where a weight is free."""
    row, block = _row(table, owners, blocks, columns)
    place = _places(block, pairs)
    value = tl.load(factor)
    _add_half(place, row, value)
    _add_half(place + HALF, row, value)


@_compiled
def _mask_half(place, row):
    inside = place < tl.load(row + SIZE).to(tl.int32)
    _write(_read(place, inside, row, OUT) * _free(place, inside, row), place, inside, row)


@_compiled
def keep_free(table, owners, blocks, columns: tl.constexpr, pairs: tl.constexpr):
    """Multiply `OUT` by 0 where a weight is fixed."""
    row, block = _row(table, owners, blocks, columns)
    place = _places(block, pairs)
    _mask_half(place, row)
    _mask_half(place + HALF, row)


@_keyed
def fill_noise(table, owners, blocks, k0, k1, columns: tl.constexpr, pairs: tl.constexpr):
    """Put the noise into `OUT`."""
    row, block = _row(table, owners, blocks, columns)
    x, y = _normal(block, tl.load(row + NUMBER).to(tl.int32), k0, k1, pairs)
    place = _places(block, pairs)
    size = tl.load(row + SIZE).to(tl.int32)
    _write(x, place, place < size, row)
    _write(y, place + HALF, place + HALF < size, row)
