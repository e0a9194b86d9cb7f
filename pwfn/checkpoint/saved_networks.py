"""Write and read the networks of a run's folder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, load_model, save_file, save_model
from torch import nn

from pwfn.bayesian.state_dict import plain_state
from pwfn.checkpoint.saved_run import NotAFinishedRun
from pwfn.clustering.codebook import Values
from pwfn.clustering.fitted_codebook import Table
from pwfn.errors import RunError, one_line
from pwfn.records.files import NETWORK, PRETRAINED, VALUES, NotWritten, replacing, write_text


def save(folder: Path, network: nn.Module, round_index: int, file: str = NETWORK) -> None:
    """Replace a saved network by the present one: means, sigmas, assignments, and everything that is not quantized."""
    with _written(folder / file) as unfinished:
        save_model(network, str(unfinished), metadata={"round": str(round_index)})


def save_pretrained(folder: Path, network: nn.Module) -> None:
    """Keep the network that everything is compared with as a plain state dict, which timm and `model.checkpoint` read."""
    state = {name: tensor.detach().contiguous().clone() for name, tensor in plain_state(network).items()}
    with _written(folder / PRETRAINED) as unfinished:
        save_file(state, str(unfinished), metadata={"format": "pt"})


@contextmanager
def _written(path: Path) -> Iterator[Path]:
    """`replacing`, for safetensors, which has an exception of its own for a full disk."""
    with replacing(path) as unfinished:
        try:
            yield unfinished
        except SafetensorError as error:
            raise NotWritten(path, one_line(error)) from error


def read_pretrained(folder: Path) -> dict[str, torch.Tensor]:
    """The plain state dict that `save_pretrained` kept; raises RunError."""
    path = folder / PRETRAINED
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise RunError(f"{path}, which teaches, cannot be read: {one_line(error)}") from error


def save_values(folder: Path, values: Values | None) -> None:
    """The values that the weights may take, if they were made from the weights."""
    if values is not None and (made := values.saved()) is not None:
        write_text(folder / VALUES, json.dumps(made) + "\n")


def read_values(folder: Path) -> Values | None:
    """What `save_values` has left; None if there was nothing to leave. Raises RunError for a file that cannot be read."""
    path = folder / VALUES
    if not path.is_file():
        return None
    try:
        return Table.of(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path} cannot be read: {type(error).__name__} {error}") from error


def load(folder: Path, network: nn.Module, round_index: int, file: str = NETWORK) -> None:
    """Read a network saved in round `round_index` into `network`; raises NotAFinishedRun."""
    path = folder / file
    try:
        with safe_open(path, framework="pt") as content:
            saved = (content.metadata() or {}).get("round")
        if saved != str(round_index):
            raise NotAFinishedRun(f"{path} was saved after round {saved}, the records end with round {round_index}")
        load_model(network, str(path))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise NotAFinishedRun(f"{path} cannot be read: {one_line(error)}") from error


def load_pretrained(folder: Path, network: nn.Module) -> None:
    """Read what `save_pretrained` kept into the means of a Bayesian network; raises NotAFinishedRun."""
    path = folder / PRETRAINED
    try:
        saved, state = load_file(path), plain_state(network)
        if wrong := saved.keys() ^ state.keys():
            raise NotAFinishedRun(f"{path} does not fit the run's config: {sorted(wrong)[0]} is in one of them only")
        with torch.no_grad():
            for name, tensor in state.items():
                tensor.copy_(saved[name])
    except (OSError, SafetensorError, RuntimeError) as error:
        raise NotAFinishedRun(f"{path} cannot be read: {one_line(error)}") from error
