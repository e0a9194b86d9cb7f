"""Match the classes of images with those of a network by their names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from pwfn.data import DataError
from pwfn.data.files.folders import few


def columns_of(path: str, network: Sequence[str], images: Sequence[str]) -> tuple[list[int] | None, str]:
    """Find the network's output for each class of the images.

    Args:
        path: the artifact, for the message.
        network: names of the network's classes, in the order of its outputs.
        images: names of the images' classes, in the order of their labels.

    Returns:
        The number of the output for each class of the images, or None where they are all the outputs in their order;
        and a line about it, empty where nothing needs to be said.

    Raises:
        DataError: the images have a class that the network does not know, or a name that two of its classes have.
    """
    if list(network) == list(images):
        return None, ""
    known = {name: number for number, name in enumerate(network)}
    if unknown := [name for name in images if name not in known]:
        raise DataError(
            f"data has the classes {few(list(images))}, the network of {path} {few(list(network))}: it does not know "
            f"{few(unknown)}"
        )
    if len(known) < len(network):
        raise DataError(f"the network of {path} has two classes of one name, so they cannot be matched by name")
    columns = [known[name] for name in images]
    if len(images) == len(network):
        return columns, "The classes of the images have another order than the network's: they are matched by name."
    chosen = f"The images have {len(images)} of the network's {len(network)} classes"
    return columns, f"{chosen}, matched by name: it chooses among these alone."


def answer_in(columns: list[int] | None, network: nn.Module) -> nn.Module:
    """Let a network answer with these of its outputs alone, in this order; its layers stay as they are."""
    if columns is not None:

        def chosen(_module: nn.Module, _inputs: Any, logits: Tensor) -> Tensor:
            return logits[:, columns]

        network.register_forward_hook(chosen)
    return network
