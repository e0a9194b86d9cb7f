"""Warn about random weights, and refuse a random classifier that nothing would train."""

from __future__ import annotations

import warnings

from torch import nn

from pwfn.models.timm_model import ModelSpec
from pwfn.models.weight_files import ModelError


def warn_if_random(spec: ModelSpec, pretrain_epochs: int) -> None:
    """Warn if a network starts from random weights and is not trained before it is compressed."""
    if spec.random_weights and pretrain_epochs == 0:
        warnings.warn(
            f"{spec.name} starts from RANDOM weights and pretrain.epochs is 0: set model.pretrained=true, "
            "model.checkpoint=<file> or pretrain.epochs, or expect the accuracy of guessing",
            stacklevel=2,
        )


def new_head(spec: ModelSpec, network: nn.Module) -> str | None:
    """Say that the classifier was made anew, for another number of classes than the weights are for; None if not.

    Args:
        spec: the network's.
        network: as `spec.build` has built it.
    """
    of_weights = getattr(network, "pretrained_cfg", {}).get("num_classes")
    classes = getattr(network, "num_classes", of_weights)
    if spec.random_weights or of_weights == classes:
        return None
    return (
        f"{spec.name}: the weights are for {of_weights} classes and the data has {classes}, so the classifier is new "
        "and RANDOM"
    )


def refuse_untrained_head(spec: ModelSpec, network: nn.Module, pretrain_epochs: int) -> None:
    """Raise ModelError for a new classifier that is not trained before it is compressed."""
    if pretrain_epochs == 0 and (line := new_head(spec, network)):
        raise ModelError(
            f"{line}, and pretrain.epochs = 0 leaves it so: pretrain=head trains it first, then all of the network "
            "(pretrain=short trains all at once)"
        )
