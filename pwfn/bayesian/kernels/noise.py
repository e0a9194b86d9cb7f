"""Make standard normal noise of a key, a tensor's number and a place, in torch's integer operations.

Threefry2x32-20 (Salmon et al. 2011, doi:10.1145/2063384.2063405) turns (place, number) under the key into two random
words, the transform of Box and Muller (1958, doi:10.1214/aoms/1177706645) these into two normal numbers, up to 6.7
standard deviations from 0. A tensor is divided into spans of 1024 numbers: the first half of a span are the cosines,
the second half the sines of 512 pairs of words. The layout serves the vector units of a CPU; all kernels keep it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

SPAN = 1024
HALF = SPAN // 2
ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
PARITY = 0x1BD11BDA
CHUNK = 256 * HALF  # pairs computed at once on a CPU: what one operation writes, the next finds in the cache


def standard_normal(shapes: Sequence[Tensor], numbers: Sequence[int], key: int) -> list[Tensor]:
    """Compute the noise of several tensors in one go.

    Args:
        shapes: tensors, on one device, whose shapes and types the noise has; float64 holds the same single precision
            words, transformed in double precision.
        numbers: which noise each gets, from 0 to 2^31 - 1.
        key: an integer from 0 to 2^64 - 1.

    Returns:
        Contiguous tensors of independent numbers from N(0, 1).
    """
    device, dtype = shapes[0].device, _computed_in(shapes)
    spans = [-(-tensor.numel() // SPAN) for tensor in shapes]
    places = torch.cat([torch.arange(count * HALF, dtype=torch.int32, device=device) for count in spans])
    owners = _sent(numbers, device).repeat_interleave(_sent(spans, device) * HALF, output_size=sum(spans) * HALF)
    noise = torch.empty(sum(spans), 2, HALF, dtype=dtype, device=device)
    chunk = CHUNK if device.type == "cpu" else max(1, len(places))
    for start in range(0, len(places), chunk):
        words = threefry(places[start : start + chunk], owners[start : start + chunk], key)
        pairs = box_muller(*words, dtype)
        for half, values in enumerate(pairs):
            noise[start // HALF : start // HALF + len(values) // HALF, half] = values.view(-1, HALF)
    own = noise.view(-1, SPAN).split(spans)
    return [values.flatten()[: t.numel()].view(t.shape).to(t.dtype) for values, t in zip(own, shapes, strict=True)]


def _sent(values: Sequence[int], device: torch.device) -> Tensor:
    """Put the values on a device; from pinned memory, because the host would wait for a GPU otherwise."""
    kept = torch.tensor(values, dtype=torch.int32, pin_memory=device.type == "cuda")
    return kept.to(device, non_blocking=True)


def _computed_in(tensors: Sequence[Tensor]) -> torch.dtype:
    return torch.float64 if any(tensor.dtype == torch.float64 for tensor in tensors) else torch.float32


def threefry(first: Tensor, second: Tensor, key: int) -> tuple[Tensor, Tensor]:
    """Encrypt counters with Threefry2x32-20.

    Args:
        first: the counters' first words, int32 that stand for uint32: torch's additions wrap around.
        second: their second words, of the same shape.
        key: an integer from 0 to 2^64 - 1.

    Returns:
        Two random words for each counter, int32 that stand for uint32.
    """
    low, high = key % 2**32, key >> 32
    keys = [_signed(low), _signed(high), _signed(low ^ high ^ PARITY)]
    a, b = first + keys[0], second + keys[1]
    for step in range(1, 6):
        for by in ROTATIONS[(step - 1) % 2]:
            a += b
            b = (b << by).bitwise_or_((b >> (32 - by)).bitwise_and_((1 << by) - 1)).bitwise_xor_(a)
        a += keys[step % 3]
        b += _signed((keys[(step + 1) % 3] + step) % 2**32)
    return a, b


def _signed(word: int) -> int:
    """Return the int32 with the bits of a uint32."""
    return word - 2**32 if word >= 2**31 else word


def box_muller(first: Tensor, second: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Turn two random words into two independent numbers from N(0, 1).

    Args:
        first: int32 that stand for uint32; decide the radius.
        second: likewise, of the same shape; decide the angle.
        dtype: of the numbers.

    Returns:
        Two tensors of the same shape.
    """
    # float32 of the uint32, rounded once: both halves of 16 bits are exact
    unsigned = (first >> 16).bitwise_and_(0xFFFF).to(torch.float32).mul_(2.0**16).add_(first & 0xFFFF)
    uniform = unsigned.mul_(2.0**-32).add_(2.0**-33).to(dtype)
    radius = uniform.log_().mul_(-2).sqrt_()
    quadrant = (second + 2**29) >> 30  # the nearest quarter turn, from -2 to 1
    angle = (second - (quadrant << 30)).to(torch.float32).to(dtype).mul_(2 * math.pi / 2**32)
    cosine, sine = angle.cos(), angle.sin_()
    turned_cosine = 1 - quadrant.to(dtype).abs_()  # cosine and sine of the quarter turns
    turned_sine = (quadrant & 1).mul_(quadrant).to(dtype)
    x = cosine * turned_cosine - sine * turned_sine
    y = sine.mul_(turned_cosine).addcmul_(cosine, turned_sine)
    return x.mul_(radius), y.mul_(radius)
