"""Write a network into one small file."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn

from pwfn.artifact import container
from pwfn.artifact.container import ArtifactError, Buffer
from pwfn.artifact.header import Codebook, Filled, Header, Plain, Preprocessing, Recipe, Section
from pwfn.artifact.header_checks import reason_of
from pwfn.artifact.parts import DTYPES, Parts, take_apart
from pwfn.artifact.plain_form import PlainForm, PlainTensors, stored_plain
from pwfn.artifact.receipt import Receipt, make_receipt, zipped_bytes
from pwfn.artifact.recipe import recipe_of
from pwfn.artifact.sections.sigma import encode_sigma
from pwfn.artifact.sections.weights import Encoded, encode_weights, uncompressed
from pwfn.errors import one_line
from pwfn.models.timm_model import data_config

PACKAGES = ("pwfn", "torch", "timm", "constriction")
NAMES = {dtype: name for name, dtype in DTYPES.items()}


def save(
    path: str | Path,
    network: nn.Module,
    *,
    name: str | None = None,
    num_classes: int | None = None,
    in_chans: int | None = None,
    args: Mapping[str, Any] | None = None,
    data: Mapping[str, Any] | None = None,
    class_names: Sequence[str] | None = None,
    sigma: bool = False,
    plain: PlainForm = "exact",
    include: tuple[str, ...] = (),
    exclude: tuple[str, ...] = (),
) -> Receipt:
    """Write a network, whole or not at all, and return its sizes; exact, unless `plain` says otherwise.

    Args:
        path: of the file.
        network: Bayesian, written at its mean with its assignments, or an ordinary model, of which the weights of
            linear and convolution layers are coded; the values that they share become the codebook.
        name: of the model in timm. This and the next three are by default those of the network; where timm does not
            build it from them, a warning says that `load` will need a model to fill.
        num_classes: number of classes of the model.
        in_chans: number of color channels of the model.
        args: further arguments of `timm.create_model`.
        data: preprocessing (timm's data config), by default the model's own.
        class_names: in the order of the labels.
        sigma: also write the sigmas.
        plain: form of the tensors that are not coded: "exact"; "float16", loaded as float32; "folded", where scale and
            bias of BatchNorm take its running mean and variance; "folded_float16". The receipt says what it changes.
        include: glob patterns for an ordinary model, as in `to_bayesian`.
        exclude: likewise.

    Raises:
        ArtifactError: a tensor cannot be stored (in this form), or timm builds no such network from a given `name`.
    """
    parts = take_apart(network, include, exclude)
    recipe, data = _recipe(network, parts, (name, num_classes, in_chans, dict(args or {})), data)
    return write(path, parts, recipe, {"data": data, "class_names": class_names}, sigma=sigma, plain=plain)


def _recipe(
    network: nn.Module,
    parts: Parts,
    given: tuple[str | None, int | None, int | None, dict[str, Any]],
    data: Mapping[str, Any] | None,
) -> tuple[Recipe | None, Mapping[str, Any] | None]:
    """Make the recipe, or None with a warning, and the preprocessing; see `save`."""
    name, num_classes, in_chans, args = given
    found = name or _timm_name(network)
    reason = "it does not say which timm model it is"
    if found is not None:
        chans = in_chans if in_chans is not None else _in_chans(network)
        classes = num_classes if num_classes is not None else int(getattr(network, "num_classes", 1000))
        try:
            recipe = recipe_of(found, classes, chans, args, parts.state)
            return recipe, data if data is not None else _data_config(network, chans)
        except ArtifactError as error:
            if name is not None:
                raise
            reason = str(error)
    warnings.warn(f"the artifact will not say how to build the model: {reason}", stacklevel=3)
    return None, data


def write(
    path: str | Path,
    parts: Parts,
    recipe: Recipe | None,
    about: Mapping[str, Any],
    *,
    sigma: bool = False,
    zipped: bool = False,
    plain: PlainForm = "exact",
) -> Receipt:
    """Code and write a network that was taken apart, and return its sizes in several forms.

    Args:
        path: of the file.
        parts: of the network.
        recipe: how timm builds it, or None.
        about: may hold `data`, `class_names`, `config` and `metrics` for the header.
        sigma: also write the sigmas.
        zipped: also find out what zip makes of the float network, about 4 seconds for 100 MB.
        plain: form of the tensors that are not coded.

    Raises:
        ArtifactError: a tensor cannot be stored in this form, or the header is too large.
    """
    others = stored_plain(parts.plain, parts.norms, plain)
    encoded = encode_weights(parts)
    shared, sigma_sections = encode_sigma(parts) if sigma else (None, {})
    rest = uncompressed(b"".join(_bytes(tensor) for _, tensor in others.stored))
    sections = {**encoded.sections, "plain": rest, **sigma_sections}
    receipt = make_receipt(
        encoded.counts,
        rest=others.before,
        plain=others.bytes,
        coded=sum(len(stored) for stored, _ in encoded.sections.values()),
        zipped=zipped_bytes(_float_pieces(parts)) if zipped else None,
    )
    header = _header_of((recipe, about), encoded, sections, receipt, (Codebook.of(parts.book.values), shared, others))
    json_values = header.model_dump(mode="json", exclude={"plain_form", "filled"} if header.version == 1 else None)
    size = container.write(Path(path), header.version, json_values, [stored for stored, _ in sections.values()])
    return replace(receipt, file=size, plain_change=others.largest_change if plain != "exact" else None)


def _header_of(
    given: tuple[Recipe | None, Mapping[str, Any]],
    encoded: Encoded,
    sections: Mapping[str, tuple[Buffer, int]],
    receipt: Receipt,
    held: tuple[Codebook, int | None, PlainTensors],
) -> Header:
    """Describe the file; `held`: its shared values, how many values sigmas share, the tensors not coded."""
    (recipe, about), (codebook, sigma, others) = given, held
    names = about.get("class_names")
    return _checked(
        writer={package: version(package) for package in PACKAGES},
        model=recipe,
        data=about.get("data"),
        class_names=tuple(map(str, names)) if names is not None else None,
        config=plain_json(about.get("config")),
        metrics=plain_json(about.get("metrics")),
        receipt=receipt.as_dict(),
        codebook=codebook,
        coded=encoded.coded,
        plain=tuple(Plain(names=n, shape=tuple(t.shape), dtype=NAMES[t.dtype]) for n, t in others.stored),  # type: ignore[arg-type]
        tables=encoded.tables,
        sigma=sigma,
        weights_sha256=encoded.sha256,
        sections=tuple(Section(name=key, stored=len(b), size=size) for key, (b, size) in sections.items()),
        plain_form=None if others.form == "exact" else others.form,
        filled=tuple(
            Filled(names=f.names, shape=f.shape, dtype="F32", bits=_float_bits(f.value)) for f in others.filled
        ),
    )


def _checked(data: Mapping[str, Any] | None, **fields: Any) -> Header:
    """Return the header if it can be read again, else raise ArtifactError."""
    try:
        preprocessing = TypeAdapter(Preprocessing | None).validate_json(json.dumps(plain_json(data)))
    except ValidationError as error:
        keys = ", ".join(Preprocessing.model_fields)
        allowed = f"must be like timm's data config, with {keys} ({reason_of(error)})"
        raise ArtifactError(f"data = {one_line(repr(data))}: {allowed}") from None
    try:
        return Header(data=preprocessing, **fields)
    except ValidationError as error:
        raise ArtifactError(f"the artifact cannot be described: {reason_of(error)}") from error


def _timm_name(network: nn.Module) -> str | None:
    config = getattr(network, "pretrained_cfg", None) or {}
    architecture, tag = config.get("architecture"), config.get("tag")
    return f"{architecture}.{tag}" if architecture and tag else architecture


def _in_chans(network: nn.Module) -> int:
    """Return the channels of the first convolution, which in timm's models is the one that sees the image."""
    first = next((m for m in network.modules() if isinstance(m, nn.modules.conv._ConvNd)), None)
    return first.in_channels if first is not None else 3


def _data_config(network: nn.Module, channels: int) -> dict[str, Any]:
    """Return the model's own preprocessing, for images of as many channels as it was built for."""
    config = data_config(network)
    config["input_size"] = (channels, *config["input_size"][1:])
    for key in ("mean", "std"):
        if len(config[key]) != channels:
            config[key] = (sum(config[key]) / len(config[key]),) * channels
    return config


def plain_json(value: Any) -> Any:
    """Convert to JSON values: tuples become lists, what is no number, text, list or mapping its text."""
    if isinstance(value, Mapping):
        return {str(key): plain_json(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain_json(inner) for inner in value]
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    return str(value)


def _bytes(tensor: Tensor) -> bytes:
    """Return the elements in C order, little endian (as on every machine that torch runs on)."""
    return tensor.reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b""


def _float_bits(value: float) -> int:
    return int(np.float32(value).view(np.uint32))


def _float_pieces(parts: Parts) -> list[memoryview]:
    weights = [one.values.reshape(-1).view(np.uint8).data for one in parts.weights]
    return weights + [memoryview(_bytes(tensor)) for _, tensor in parts.plain]
