"""Find the state dict in what a training program saved, without what wrappers put before names."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pwfn.errors import one_line

EMA = ("state_dict_ema", "model_ema", "ema_state_dict", "model_state_dict_ema", "ema")  # timm's names first
RAW = (
    "state_dict",
    "model",
    "model_state_dict",
    "net",
    "network",
    "module",
    "weight",
    "weights",
    "params",
    "model_state",
)
USABLE = (
    torch.float64, torch.float32, torch.float16, torch.bfloat16,
    torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool,
)  # fmt: skip
_COUNTERS = ("n_averaged", "total_ops", "total_params")  # torch's AveragedModel and thop leave these beside the weights
_LISTED = 6  # keys that a message lists


@dataclass(frozen=True)
class Found:
    """Hold tensors by name, and what a user should know about how they were found."""

    tensors: dict[str, Tensor]
    remarks: tuple[str, ...] = ()


def find_state_dict(content: Any, *, ema: bool) -> Found:
    """Find the tensors of a network in the content of a file.

    Args:
        content: what was read. A state dict may be wrapped, several times over, under the names of `EMA` and `RAW`.
        ema: prefer averaged weights where both kinds are there.

    Raises:
        ValueError: there are none; the message continues a sentence that begins with the name of the file.
    """
    remarks: list[str] = []
    while isinstance(content, Mapping):
        if of_a_run(content):
            raise ValueError(of_a_run(content))
        averaged, raw = (_wrapped(content, names) for names in (EMA, RAW))
        chosen = (averaged or raw) if ema else (raw or averaged)
        if chosen is None:
            break
        if averaged and raw:
            other = f"model.ema={str(not ema).lower()} takes {raw if ema else averaged}"
            remarks.append(f"the weights are those of {chosen} ({other})")
        elif averaged and not ema:
            remarks.append(f"the weights are those of {averaged}: there are no raw ones for model.ema=false")
        if left := [n for n, v in content.items() if n not in (averaged, raw) and _has_layers(v)]:
            remarks.append(f"{chosen} is read, the weights of {listed(left)} are not")
        content = content[chosen]
    if not isinstance(content, Mapping):
        raise ValueError(f"holds no state dict, but {type(content).__name__}")
    tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    if not tensors:
        raise ValueError(f"holds no state dict; its keys are {listed(content)}")
    others = [name for name in content if str(name) not in tensors]
    tensors = {name: tensor for name, tensor in tensors.items() if name.rpartition(".")[2] not in _COUNTERS}
    if others:
        remarks.append(f"what is no tensor is passed over ({listed(others)})")
    return Found(tensors, tuple(remarks))


def _wrapped(content: Mapping[Any, Any], names: Collection[str]) -> str | None:
    return next((name for name in names if _has_tensors(content.get(name))), None)


def _has_tensors(content: Any) -> bool:
    if isinstance(content, Mapping):
        return any(_has_tensors(value) for value in content.values())
    return isinstance(content, Tensor)


def _has_layers(content: Any) -> bool:
    """Tell whether something holds weights by the names of layers; the state of an optimizer does not."""
    if not isinstance(content, Mapping):
        return False
    named = any(isinstance(value, Tensor) and str(name).endswith(".weight") for name, value in content.items())
    return named or any(map(_has_layers, content.values()))


def of_a_run(content: Mapping[Any, Any]) -> str | None:
    """Recognize what a run of this program keeps for itself, and say what to start from instead."""
    instead = (
        "start from the pretrained.safetensors (before the rounds) or the model.pwfn (compressed) in the run's folder"
    )
    if {"format", "state", "network", "ranks"} <= content.keys():
        return f"is a checkpoint of a run, which resume=<its folder> goes on with; for a new run {instead}"
    if any(".parametrizations." in str(name) and str(name).endswith(".assignment") for name in content):
        return f"is the Bayesian network of a run (means, sigmas and assignments); {instead}"
    return None


def listed(names: Collection[Any]) -> str:
    """List a few names in one line, and count the others."""
    shown = ", ".join(one_line(name, 60) for name in list(names)[:_LISTED]) or "(none)"
    return shown + (f" and {len(names) - _LISTED} more" if len(names) > _LISTED else "")


def unusable(tensors: Mapping[str, Tensor]) -> str | None:
    """Say what is wrong with the first tensor that cannot be a network's, or None."""
    for name, tensor in tensors.items():
        if tensor.is_meta or tensor.layout != torch.strided:
            return f"no ordinary tensor in {one_line(name)} ({tensor.layout}, device {tensor.device})"
        if tensor.dtype not in USABLE:
            kind = str(tensor.dtype).removeprefix("torch.")
            return f"{kind} weights, the first in {one_line(name)}: save them as float32, float16 or bfloat16"
        if tensor.is_floating_point() and not tensor.isfinite().all():
            return f"NaN or infinite weights, the first in {one_line(name)}"
    return None


def prefixes_taken_off(found: Found) -> list[Found]:
    """Take off what is before every name: `module.`, `_orig_mod.`, `net.`, several in any order.

    Returns:
        What to try in turn, without any prefix first. Some networks have a word in front of all their own names, and
        timm knows some prefixes, such as OpenCLIP's, and what they mean; so the names as they are come last.
    """
    tried, tensors, prefix = [found], found.tensors, ""
    while len(words := {name.partition(".")[0] for name in tensors}) == 1 and all("." in name for name in tensors):
        word = f"{words.pop()}."
        prefix += word
        tensors = {name.removeprefix(word): tensor for name, tensor in tensors.items()}
        remark = f"{one_line(prefix)} is taken off the front of every name"
        tried.append(Found(tensors, (*found.remarks, remark)))
    return tried[::-1]
