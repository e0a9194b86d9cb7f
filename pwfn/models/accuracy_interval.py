"""Say how sure an accuracy is. Without torch or torchmetrics: settings import this."""

from __future__ import annotations

import math
from statistics import NormalDist


def interval(top1: float, images: int) -> tuple[float, float]:
    """Compute the 95 % interval of an accuracy (Wilson 1927, equation 8).

    Args:
        top1: in percent.
        images: how many were judged, from 1.

    Returns:
        The ends of the interval, in percent.
    """
    z, share = NormalDist().inv_cdf(0.975), top1 / 100
    spread = z * math.sqrt(share * (1 - share) / images + z**2 / (4 * images**2))
    center, scale = share + z**2 / (2 * images), 100 / (1 + z**2 / images)
    return max(0.0, scale * (center - spread)), min(100.0, scale * (center + spread))


def with_interval(top1: float, images: int | None, split: str = "test") -> str:
    """Write an accuracy with its 95 % interval; without, where the number of images is not known.

    Args:
        top1: In percent.
        images: Number of images it was counted on; None or 0: not known.
        split: What these are called.

    Returns:
        As in 98.89 % (95 % interval 97.2 to 99.6 %, 359 test images).
    """
    if not images:
        return f"{top1:.2f} %"
    low, high = interval(top1, images)
    return f"{top1:.2f} % (95 % interval {low:.1f} to {high:.1f} %, {images:,} {split} images)"
