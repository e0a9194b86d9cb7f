"""Recognize a new, random classifier, and refuse one that nothing would train."""

from __future__ import annotations

from typing import Any

from torch import nn

from pwfn.models.timm_model import ModelSpec
from pwfn.models.weight_files import ModelError


def new_head_classes(spec: ModelSpec, network: nn.Module) -> tuple[int, int] | None:
    """Return the number of classes of weights whose classifier was made anew for the network, else None.

    Args:
        spec: the network's.
        network: as `spec.build` has built it.
    """
    config: dict[str, Any] = getattr(network, "pretrained_cfg", {})
    of_weights: Any = config.get("num_classes")
    classes: Any = getattr(network, "num_classes", of_weights)
    if spec.random_weights or of_weights == classes:
        return None
    return of_weights, classes


def new_head(spec: ModelSpec, network: nn.Module) -> str | None:
    """Say in one line that the classifier was made anew, or return None."""
    if (classes := new_head_classes(spec, network)) is None:
        return None
    return (
        f"{spec.name}: the weights are for {classes[0]} classes and the data has {classes[1]}, so the classifier is "
        "new and RANDOM"
    )


def refuse_untrained_head(spec: ModelSpec, network: nn.Module, *, trained: bool) -> None:
    """Raise ModelError for a new classifier that is not trained before it is compressed.

    Args:
        spec: Where the weights come from.
        network: The network that was built.
        trained: Whether anything trains before the first clustering.

    Raises:
        ModelError: the classifier is new and stays random.
    """
    if not trained and (line := new_head(spec, network)):
        raise ModelError(
            f"{line}, and pretrain.epochs = 0 leaves it so: pretrain=head trains it first, then all of the network "
            "(pretrain=short trains all at once)"
        )
