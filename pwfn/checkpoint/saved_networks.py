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

from pwfn.bayesian.nonfinite import weights_not_finite
from pwfn.bayesian.state_dict import plain_state
from pwfn.checkpoint.saved_run import NotAFinishedRun
from pwfn.clustering.codebooks.codebook import Values
from pwfn.clustering.codebooks.fitted_codebook import FittedValues
from pwfn.errors import RunError, one_line
from pwfn.records.files import NETWORK, PRETRAINED, VALUES, NotWritten, replacing, write_text


def save(folder: Path, network: nn.Module, round_index: int, file: str = NETWORK) -> None:
    """Save the whole network: means, sigmas, assignments, and everything that is not quantized.

    Args:
        folder: of the run.
        network: a Bayesian network.
        round_index: the last finished round, from 0; `load` wants the same.
        file: name of the file that is replaced.

    Raises:
        NotWritten: for one on a full disk; the older file is as it was.
    """
    with _written(folder / file) as unfinished:
        save_model(network, str(unfinished), metadata={"round": str(round_index)})


def save_pretrained(folder: Path, network: nn.Module) -> None:
    """Save the pretrained network as an ordinary state dict, which timm and `model.checkpoint` read."""
    state = {name: tensor.detach().contiguous().clone() for name, tensor in plain_state(network).items()}
    with _written(folder / PRETRAINED) as unfinished:
        save_file(state, str(unfinished), metadata={"format": "pt"})


@contextmanager
def _written(path: Path) -> Iterator[Path]:
    """Do as `replacing` does, for safetensors, which has an exception of its own for a full disk."""
    with replacing(path) as unfinished:
        try:
            yield unfinished
        except SafetensorError as error:
            raise NotWritten(path, one_line(error)) from error


def read_pretrained(folder: Path) -> dict[str, torch.Tensor]:
    """Read the state dict that `save_pretrained` has saved; RunError where it cannot be read."""
    path = folder / PRETRAINED
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise RunError(f"{path}, which teaches, cannot be read: {one_line(error)}") from error


def save_values(folder: Path, values: Values | None) -> None:
    """Save the values that a weight may take, where they were fitted to the weights."""
    if values is not None and (made := values.as_dict()) is not None:
        write_text(folder / VALUES, json.dumps(made) + "\n")


def read_values(folder: Path) -> Values | None:
    """Read what `save_values` has saved, None where there is nothing; RunError for a damaged file."""
    path = folder / VALUES
    if not path.is_file():
        return None
    try:
        return FittedValues.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path} cannot be read: {type(error).__name__} {error}") from error


def load(folder: Path, network: nn.Module, round_index: int, file: str = NETWORK) -> None:
    """Read a saved network into `network`.

    Args:
        folder: of the run.
        network: a Bayesian network of the same model.
        round_index: the last round of the records, from 0.
        file: name of the file.

    Raises:
        NotAFinishedRun: where the file cannot be read, does not fit, is of another round or holds NaN or infinity.
    """
    path = folder / file
    try:
        with safe_open(path, framework="pt") as content:
            saved = (content.metadata() or {}).get("round")
        if saved != str(round_index):
            raise NotAFinishedRun(f"{path} was saved after round {saved}, the records end with round {round_index}")
        load_model(network, str(path))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise NotAFinishedRun(f"{path} cannot be read: {one_line(error)}") from error
    _refuse_nonfinite(path, network)


def load_pretrained(folder: Path, network: nn.Module) -> None:
    """Read what `save_pretrained` saved into the means of a network; may raise NotAFinishedRun."""
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
    _refuse_nonfinite(path, network)


def _refuse_nonfinite(path: Path, network: nn.Module) -> None:
    """Refuse a file whose figures would be NaN without a word; an infinite buffer may be a bound."""
    name, buffers = weights_not_finite(network), dict(network.named_buffers())
    if name and (name not in buffers or bool(buffers[name].isnan().any())):
        raise NotAFinishedRun(f"{path} is damaged: {name} holds NaN or infinity")
