"""Find out before a run whether a model can be given images of a size."""

from __future__ import annotations

import warnings
from dataclasses import replace

import torch
from torch import nn

from pwfn.data.spec import ImageData
from pwfn.models.timm_model import BUILD_ERRORS, ModelSpec, data_config
from pwfn.models.weight_files import ModelError

Size = tuple[int, int]
_FORWARD_ERRORS = (*BUILD_ERRORS, ArithmeticError)


def size_fault(spec: ModelSpec, data: ImageData) -> str | None:
    """Say in one line that a model does not take images of the data's size, and what it takes.

    One forward pass on the meta device tells, which takes neither weights nor memory.

    Returns:
        The line; None where the size is right, and where the model cannot be asked: then building it will say more.
    """
    size = data.image_size
    if size is None:
        return None
    try:
        network = _without_memory(spec, data)
    except ModelError:
        return None
    height, width = data_config(network)["input_size"][-2:]
    if _takes(network, data, (size, size)) or not _takes(network, data, (height, width)):
        return None
    line = f"data.image_size = {size}: {spec.name} takes {height} x {width} pixels: data.image_size=null gives it these"
    try:
        adapted = _without_memory(replace(spec, args={**spec.args, "img_size": size}), data)
    except ModelError:
        return line
    adapts = _takes(adapted, data, (size, size))
    return f"{line}, model.args.img_size={size} builds it for yours" if adapts else line


def _without_memory(spec: ModelSpec, data: ImageData) -> nn.Module:
    classes, channels = data.classes_if_known, data.channels
    with torch.random.fork_rng(devices=[]):
        return spec.build(num_classes=classes, in_chans=channels, load_weights=False, device="meta").eval()


@torch.no_grad()
def _takes(network: nn.Module, data: ImageData, size: Size) -> bool:
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")
        try:
            network(torch.zeros(1, data.channels, *size, device="meta"))
        except _FORWARD_ERRORS:
            return False
    return True
