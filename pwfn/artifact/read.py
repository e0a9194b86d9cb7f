"""Read an artifact into a model; nothing in it is believed before it was checked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pwfn.artifact import container
from pwfn.artifact.container import ArtifactError
from pwfn.artifact.header import Header
from pwfn.artifact.header_checks import parse_header
from pwfn.artifact.parts import DTYPES
from pwfn.artifact.recipe import build, model_bytes
from pwfn.artifact.sections.sigma import decode_sigma
from pwfn.artifact.sections.weights import Decoded, decode_weights
from pwfn.bayesian.gaussian_weight import FREE
from pwfn.bayesian.posterior import quantized_tensors, to_bayesian

Sections = dict[str, memoryview]


def load(
    path: str | Path, *, model: nn.Module | None = None, posterior: bool = False, packed: bool = False
) -> nn.Module:
    """Load an artifact's network: a timm model in evaluation mode, its weights bit for bit the run's.

    Args:
        path: the file.
        model: is filled and returned instead of a new one; needed where the artifact does not say how timm builds it.
        posterior: return the Bayesian network (`pwfn.bayesian.posterior`) with its sigmas and assignments.
        packed: keep indices in memory instead of float weights, in a quarter of the bytes or less; a layer looks its
            weights up when it computes (`pwfn.artifact.packed`). The logits are the same; nothing can be trained.

    Returns:
        The network, on the CPU, or `model`.

    Raises:
        ArtifactError: the file is not sound, is of another network than `model`, or was written without sigmas.
            A `model` that was given may then be filled in part.
    """
    header, sections = _read(Path(path))
    try:
        if packed:
            return _load_packed(header, sections, model, posterior)
        return _load(header, sections, model, posterior)
    except ArtifactError as error:
        raise ArtifactError(f"{path}: {error}") from error


def _read(path: Path) -> tuple[Header, Sections]:
    version, text, payload = container.read(path)
    try:
        header = parse_header(text, len(payload), version)
    except ArtifactError as error:
        raise ArtifactError(f"{path}: {error}") from error
    sections = {}
    for section in header.sections:
        sections[section.name], payload = payload[: section.stored], payload[section.stored :]
    return header, sections


def _load(header: Header, sections: Sections, model: nn.Module | None, posterior: bool) -> nn.Module:
    if posterior and header.sigma is None:
        raise ArtifactError("it was written without sigmas, so there is no posterior in it")
    if model is None:
        model = _built(header)
    else:
        _check_state(model, header)
    state = model.state_dict(keep_vars=True)
    tensors = decode_weights(header, sections)
    with torch.no_grad():
        if posterior:
            _fill_posterior(model, header, state, decode_sigma(header, sections, tensors))
        else:
            for tensor in tensors:
                _fill(state, tensor)
        _fill_plain(state, header, sections["plain"])
    return model.eval()


def _load_packed(header: Header, sections: Sections, model: nn.Module | None, posterior: bool) -> nn.Module:
    from pwfn.artifact.packed import load_packed, parameters_take_no_memory, restore_buffers

    if posterior:
        raise ArtifactError("a packed model has no posterior: give either packed=True or posterior=True")
    if model is None:
        with parameters_take_no_memory():
            model = _built(header)
    else:
        _check_state(model, header)
    with torch.no_grad():
        load_packed(model, header, sections)
        if recipe := header.model:
            restore_buffers(model, lambda: build(recipe, "cpu"))
    return model.eval()


def _built(header: Header) -> nn.Module:
    """Build the model, on the CPU only after its sizes were found right where it takes no memory."""
    if header.model is None:
        raise ArtifactError("it does not say how timm builds its model: give load a model=... to fill")
    draft = build(header.model, "meta")
    _check_state(draft, header)
    if model_bytes(draft) != header.model.bytes:
        raise ArtifactError(
            f"{header.model.name} takes {model_bytes(draft)} bytes, the header says {header.model.bytes}"
        )
    return build(header.model, "cpu")


def _check_state(model: nn.Module, header: Header) -> None:
    """Hold names, shapes, dtypes and ties of the file against those of the model."""
    state = model.state_dict(keep_vars=True)
    stored: dict[str, tuple[tuple[int, ...], torch.dtype]] = {}
    owner: dict[str, int] = {}
    wanted = {name: (tuple(t.shape), t.dtype) if isinstance(t, Tensor) else None for name, t in state.items()}
    widened = "float16" in (header.plain_form or "")
    for number, one in enumerate(header.tensors):
        dtype = DTYPES[getattr(one, "dtype", "F32")]
        if widened and dtype == torch.float16 and wanted.get(one.names[0]) == (one.shape, torch.float32):
            dtype = torch.float32  # which it becomes when it is copied
        stored |= dict.fromkeys(one.names, (one.shape, dtype))
        owner |= dict.fromkeys(one.names, number)
    for name in sorted(stored.keys() | wanted.keys()):
        if stored.get(name) != wanted.get(name):
            there, here = (_described(one.get(name)) for one in (stored, wanted))
            raise ArtifactError(f"{name} is {there} in the file and {here} in the model")
    tied: dict[int, str] = {}
    for name, tensor in state.items():
        first = tied.setdefault(id(tensor), name)
        if owner[first] != owner[name]:
            raise ArtifactError(f"{first} and {name} are one tensor in the model and two in the file")


def _described(one: Any) -> str:
    return f"{list(one[0])} {str(one[1]).removeprefix('torch.')}" if one else "missing"


def _fill(state: dict[str, Tensor], tensor: Decoded) -> None:
    for name in tensor.coded.names:
        state[name].copy_(torch.from_numpy(tensor.values))


def _fill_plain(state: dict[str, Tensor], header: Header, content: memoryview) -> None:
    for one in header.plain:
        part, content = content[: one.nbytes], content[one.nbytes :]
        if one.nbytes:
            values = torch.frombuffer(bytearray(part), dtype=DTYPES[one.dtype]).reshape(one.shape)
            for name in one.names:
                state[name].copy_(values)
    for filled in header.filled:
        for name in filled.names:
            state[name].fill_(filled.value)


def _fill_posterior(
    model: nn.Module, header: Header, state: dict[str, Tensor], tensors: Iterator[tuple[Decoded, Any]]
) -> None:
    """Make the model Bayesian in exactly the coded tensors, and give them means, sigmas and assignments."""
    coded = tuple(name for one in header.coded for name in one.names)
    others = tuple(name for one in (*header.plain, *header.filled) for name in one.names)
    parameters = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    to_bayesian(model, include=coded, exclude=tuple(name for name in others if name in parameters))
    gaussians = {tensor.name: tensor.gaussian for tensor in quantized_tensors(model)}
    for tensor, sigma in tensors:
        _fill(state, tensor)
        (gaussian,) = (gaussians[name] for name in tensor.coded.names if name in gaussians)
        assignment = np.where(tensor.symbols == header.entries, np.int32(FREE), tensor.symbols)
        gaussian.sigma.copy_(torch.from_numpy(sigma))
        gaussian.assignment.copy_(torch.from_numpy(assignment))
