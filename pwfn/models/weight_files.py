"""Read files of weights as dictionaries of tensors, without running anything that is in them."""

from __future__ import annotations

import argparse
import pickle
import re
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from pwfn.errors import RunError, one_line
from pwfn.models.state_dicts import Found, find_state_dict, listed, unusable

Reader = Callable[[Path], Mapping[str, Tensor]]

UNREADABLE = (SafetensorError, zipfile.BadZipFile, OSError, RuntimeError, EOFError, ValueError, LookupError)
FORMATS: dict[str, Reader] = {}  # formats of this project that are read above this wing, by the ending of the file
_BLOCKED = re.compile(r"GLOBAL ([\w.]+) was not an allowed global")
_LAYERS = ("torch.nn.modules.", "torchvision.models.", "timm.models.", "timm.layers.")
_INNER = (
    "builtins.",
    "collections.",
    "typing.",
    "_codecs.",
    "torch.",
    "timm.layers.",
)  # classes that others are made of


class ModelError(RunError):
    """Refuse a network that cannot be built or loaded; the message is one line."""


def read_weights(path: Path, *, ema: bool = True) -> Found:
    """Read the state dict in a file: safetensors, what torch.save wrote, or model.pwfn.

    Args:
        path: the file. Of pickled objects exactly tensors, containers and `argparse.Namespace` are made.
        ema: prefer the averaged weights of a training checkpoint that holds both kinds, as timm does.

    Raises:
        ModelError: the file cannot be read, holds no state dict, or holds weights that are no finite numbers.
    """
    try:
        if path.suffix in FORMATS:
            found = Found(dict(FORMATS[path.suffix](path)))
        else:
            found = find_state_dict(_content(path), ema=ema)
    except ValueError as error:
        raise ModelError(f"{path} {error}") from error
    if fault := unusable(found.tensors):
        raise ModelError(f"{path} holds {fault}")
    return found


def _content(path: Path) -> Any:
    from safetensors.torch import load_file

    try:
        if fault := _other_kind(path):
            raise ModelError(f"{path} {fault}")
        if _is_safetensors(path):
            return dict(load_file(path))
        with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of old formats; what matters of them is in the errors below
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except ModelError:
        raise
    except pickle.UnpicklingError as error:
        raise ModelError(f"{path} {_blocked(path, error)}") from error
    except UNREADABLE as error:
        raise ModelError(f"{path} is not a readable file of weights: {_reason(error)}") from error


def _is_safetensors(path: Path) -> bool:
    """Tell by the first bytes: .bin and .pth name files of both kinds."""
    with path.open("rb") as file:
        head = file.read(9)
    return head[8:] == b"{" or path.suffix == ".safetensors"


def _other_kind(path: Path) -> str | None:
    """Say what a file is that neither torch.save nor safetensors has written, where its beginning tells."""
    with path.open("rb") as file:
        head = file.read(64).lstrip()
    if head.startswith(b"version https://git-lfs"):
        return "is a pointer of Git LFS, not the file of weights itself: git lfs pull fetches that"
    if head.startswith((b"<", b"{")) and b"\0" not in head:  # the length of a safetensors header may look like them
        return f"is no file of weights, but a text that begins with {one_line(head.decode(errors='replace'), 24)}"
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
        if any(name.endswith("/constants.pkl") for name in names):
            return (
                "is a TorchScript archive, which holds code: where it was made, write "
                "torch.save(network.state_dict(), 'weights.pth')"
            )
        if not any(name.endswith("/data.pkl") for name in names):
            return f"is a zip archive that torch.save has not written; it holds {listed(names)}"
        if path.suffix == ".safetensors":
            return "was written by torch.save: give it the ending .pth"
    return None


def _reason(error: Exception) -> str:
    return one_line(re.split(r"\n|\. ", str(error))[0].removeprefix("Error: ") or type(error).__name__)


def _blocked(path: Path, error: pickle.UnpicklingError) -> str:
    """Say which class stands in the way of reading a file, and how to make a file without it."""
    try:
        names = sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except (ValueError, RuntimeError, OSError, EOFError, LookupError, pickle.UnpicklingError):  # not of the zip format
        names = _BLOCKED.findall(str(error))
    names = [name for name in names if name != "argparse.Namespace"]
    if not names:
        return "is not a readable file of weights: neither torch.save nor safetensors has written it, or it is damaged"
    names.sort(key=lambda name: name.startswith(_INNER))
    if any(name.startswith(_LAYERS) for name in names):
        return (
            f"holds a whole pickled network ({one_line(names[0])}), which cannot be read without running code: where "
            "it was made, write torch.save(network.state_dict(), 'weights.pth')"
        )
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return (
        f"needs the class {one_line(names[0])}{more}, and classes are never unpickled: where the file was made, write "
        "torch.save(torch.load(file, weights_only=False)['state_dict'], 'weights.pth'), with the key of its weights"
    )
