"""Build a Bayesian network whose shapes alone are wanted."""

from __future__ import annotations

from torch import nn

from pwfn.models.timm_model import ModelError, ModelSpec, build_bayesian


def build_without_weights(
    spec: ModelSpec, *, num_classes: int | None, in_chans: int
) -> tuple[nn.Module, ModelError | None]:
    """Build a network on the meta device, or with random weights on the CPU if it cannot be built there.

    Args:
        spec: the model, and which of its parameters are quantized.
        num_classes: classes of the head; None for the model's own.
        in_chans: channels of the images.

    Returns:
        The network, and why it could not be built on the meta device, if so.

    Raises:
        ModelError: the model cannot be built at all.
    """
    try:
        return build_bayesian(spec, num_classes=num_classes, in_chans=in_chans, load_weights=False, device="meta"), None
    except ModelError as error:
        return build_bayesian(spec, num_classes=num_classes, in_chans=in_chans, load_weights=False), error
