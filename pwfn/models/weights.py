"""Read files of weights without running anything in them, and notice what timm loads of them and what not."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_module_registration_hook

from pwfn.errors import RunError, one_line


class ModelError(RunError):
    """A network that cannot be built or whose weights cannot be loaded; the message is one line."""


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read the state dict of a safetensors or torch file; nothing is ever unpickled but tensors.

    Averaged weights are preferred where a checkpoint has both, as timm does, and the prefix of DDP is taken off.

    Raises:
        ModelError: the file cannot be read, holds no state dict, or holds NaN or infinite weights.
    """
    content = _content(path)
    for key in ("state_dict_ema", "model_ema", "state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise ModelError(f"{path} holds no state dict")
    for name, value in content.items():
        if value.is_floating_point() and not value.isfinite().all():
            raise ModelError(f"{path} holds NaN or infinite weights, the first in {name}")
    return {name.removeprefix("module."): value for name, value in content.items()}


def _content(path: Path) -> Any:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        return torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, OSError, RuntimeError, pickle.UnpicklingError, EOFError, ValueError, KeyError) as error:
        raise ModelError(f"{path} is not a readable file of weights: {one_line(error)}") from error


@contextmanager
def unmatched_keys() -> Iterator[tuple[set[str], set[str]]]:
    """Collect the missing and the unexpected keys of the state dicts loaded into networks built inside the block.

    timm builds a network and loads its weights in one call, which returns neither and for another number of classes
    does not insist on a fit. So every module built inside the block carries a hook of torch's until the block ends.
    """
    missing: set[str] = set()
    unexpected: set[str] = set()
    hooked: set[nn.Module] = set()

    def collect(_: nn.Module, keys: Any) -> None:
        missing.update(keys.missing_keys)
        unexpected.update(keys.unexpected_keys)

    with ExitStack() as stack:

        def hook(parent: nn.Module, *_: Any) -> None:
            if parent not in hooked:
                hooked.add(parent)
                stack.callback(parent.register_load_state_dict_post_hook(collect).remove)

        stack.callback(register_module_module_registration_hook(hook).remove)
        yield missing, unexpected
