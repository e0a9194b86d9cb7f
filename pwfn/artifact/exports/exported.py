"""Hold what all exported forms share: their error, what they say of the model, how logits compare."""

from __future__ import annotations

import json
from typing import Any

import torch
from torch import Tensor, nn

RTOL, ATOL = 1e-3, 1e-4  # of logits, for another engine's float32 arithmetic


class ExportError(RuntimeError):
    """Refuse a form that cannot be made here, or that is not the model, in one line."""


def metadata(description: dict[str, Any]) -> dict[str, str]:
    """Return what a user of the file needs to know about it, as text."""
    model, data, class_names = (description[key] for key in ("model", "data", "class_names"))
    facts = {"architecture": model["name"], "data": data, "class_names": class_names}
    facts |= {key: model[key] for key in ("num_classes", "in_chans", "args")}
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in facts.items()}


def images_of(description: dict[str, Any], count: int = 2) -> Tensor:
    """Make random images of the size that the model is used with, float32 [count, channels, H, W]."""
    return torch.randn(count, *description["data"]["input_size"], generator=torch.Generator().manual_seed(0))


def compared(model: nn.Module, images: Tensor, found: Tensor) -> str:
    """Say how far off the logits of another engine are.

    Args:
        model: the network.
        images: what both were given [images, channels, height, width].
        found: the other engine's logits [images, classes].

    Returns:
        A clause with the largest difference.

    Raises:
        ExportError: they differ by more than float32 arithmetic does: 1e-4 and a thousandth of the logit.
    """
    with torch.no_grad():
        wanted = model(images)
    largest = float((found - wanted).abs().max())
    if not torch.allclose(found, wanted, rtol=RTOL, atol=ATOL):
        raise ExportError(f"the logits differ by up to {largest:.3g} from the model's")
    return f"logits within {largest:.1e} of the model's"


def same_bits(one: Tensor, other: Tensor) -> bool:
    """Tell whether two tensors have the same dtype, shape and bits."""
    return one.dtype == other.dtype and one.shape == other.shape and one.numpy().tobytes() == other.numpy().tobytes()
