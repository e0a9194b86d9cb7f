"""A network into one small file."""

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
from pwfn.artifact.container import ArtifactError
from pwfn.artifact.header import Codebook, Header, Plain, Preprocessing, Recipe, Section, reason_of
from pwfn.artifact.parts import DTYPES, Parts, take_apart
from pwfn.artifact.receipt import Receipt, make_receipt, zipped_bytes
from pwfn.artifact.recipe import recipe_of
from pwfn.artifact.sigma import encode_sigma
from pwfn.artifact.weights import encode_weights, plain
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
    include: tuple[str, ...] = (),
    exclude: tuple[str, ...] = (),
) -> Receipt:
    """Write `network` to `path`, whole or not at all, and return what it weighs there and elsewhere.

    A Bayesian network is written at its mean with its assignments, `sigma=True` adds its sigmas. Of a plain model the
    weights of linear and convolution layers are coded (`include`, `exclude`: as in `to_bayesian`); the values that they
    share become the codebook. Nothing is rounded.

    `name`, `num_classes`, `in_chans` and `args` say how timm builds the model, and are taken from a timm model where
    they are not given. Where timm does not build this network from them, ArtifactError is raised if `name` was given;
    otherwise a warning says that `load` will need a model to fill. `data` is the preprocessing (timm's data config), by
    default the model's own.
    """
    parts = take_apart(network, include, exclude)
    found = name or _timm_name(network)
    recipe = None
    reason = "it does not say which timm model it is"
    if found is not None:
        chans = in_chans if in_chans is not None else _in_chans(network)
        classes = num_classes if num_classes is not None else int(getattr(network, "num_classes", 1000))
        try:
            recipe = recipe_of(found, classes, chans, dict(args or {}), parts.state)
            data = data if data is not None else _data_config(network, chans)
        except ArtifactError as error:
            if name is not None:
                raise
            reason = str(error)
    if recipe is None:
        warnings.warn(f"the artifact will not say how to build the model: {reason}", stacklevel=2)
    return write(path, parts, recipe, {"data": data, "class_names": class_names}, sigma=sigma)


def write(
    path: str | Path,
    parts: Parts,
    recipe: Recipe | None,
    about: Mapping[str, Any],
    *,
    sigma: bool = False,
    zipped: bool = False,
) -> Receipt:
    """Code and write a network that was taken apart.

    `about` may hold `data`, `class_names`, `config` and `metrics` for the header. `zipped` also works out what zip makes
    of the float network, which takes about 4 seconds for 100 MB.
    """
    encoded = encode_weights(parts)
    sections = encoded.sections | {"plain": plain(b"".join(_bytes(tensor) for _, tensor in parts.plain))}
    shared, sigma_sections = encode_sigma(parts) if sigma else (None, {})
    sections |= sigma_sections
    receipt = make_receipt(
        encoded.counts,
        rest=sections["plain"][1],
        coded=sum(len(stored) for stored, _ in encoded.sections.values()),
        zipped=zipped_bytes(_float_pieces(parts)) if zipped else None,
    )
    names = about.get("class_names")
    header = _header(
        writer={package: version(package) for package in PACKAGES},
        model=recipe,
        data=about.get("data"),
        class_names=tuple(map(str, names)) if names is not None else None,
        config=plain_json(about.get("config")),
        metrics=plain_json(about.get("metrics")),
        receipt=receipt.as_dict(),
        codebook=Codebook.of(parts.book.values),
        coded=encoded.coded,
        plain=tuple(Plain(names=n, shape=tuple(t.shape), dtype=NAMES[t.dtype]) for n, t in parts.plain),  # type: ignore[arg-type]
        tables=encoded.tables,
        sigma=shared,
        weights_sha256=encoded.sha256,
        sections=tuple(Section(name=key, stored=len(b), size=size) for key, (b, size) in sections.items()),
    )
    size = container.write(Path(path), header.model_dump(mode="json"), [stored for stored, _ in sections.values()])
    return replace(receipt, file=size)


def _header(data: Mapping[str, Any] | None, **fields: Any) -> Header:
    """The header, if it can be read again."""
    try:
        read_as = json.dumps(plain_json(data))
        return Header(data=TypeAdapter(Preprocessing | None).validate_json(read_as), **fields)
    except ValidationError as error:
        raise ArtifactError(f"the artifact cannot be described: {reason_of(error)}") from error


def _timm_name(network: nn.Module) -> str | None:
    config = getattr(network, "pretrained_cfg", None) or {}
    architecture, tag = config.get("architecture"), config.get("tag")
    return f"{architecture}.{tag}" if architecture and tag else architecture


def _in_chans(network: nn.Module) -> int:
    """Channels of the first convolution, which in timm's models is the one that sees the image."""
    first = next((m for m in network.modules() if isinstance(m, nn.modules.conv._ConvNd)), None)
    return first.in_channels if first is not None else 3


def _data_config(network: nn.Module, channels: int) -> dict[str, Any]:
    """The model's own preprocessing, for images of as many channels as it was built for."""
    config = data_config(network)
    config["input_size"] = (channels, *config["input_size"][1:])
    for key in ("mean", "std"):
        if len(config[key]) != channels:
            config[key] = (sum(config[key]) / len(config[key]),) * channels
    return config


def plain_json(value: Any) -> Any:
    """Anything as JSON can hold it: tuples become lists; what is no number, text, list or mapping becomes its text."""
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
    """The elements in C order, little endian (as on every machine that torch runs on)."""
    return tensor.reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b""


def _float_pieces(parts: Parts) -> list[memoryview]:
    weights = [one.values.reshape(-1).view(np.uint8).data for one in parts.weights]
    return weights + [memoryview(_bytes(tensor)) for _, tensor in parts.plain]
