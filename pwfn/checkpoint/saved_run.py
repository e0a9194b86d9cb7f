"""What of a run has to survive it: the resolved config and the network, before compression and in the end.

Nothing is pickled: the network is a safetensors file, the config is YAML.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, load_model, save_file, save_model
from torch import nn
from yaml import YAMLError

from pwfn.artifact.parts import plain_state
from pwfn.checkpoint import files
from pwfn.clustering.codebook import Values
from pwfn.clustering.fitted_codebook import Table
from pwfn.errors import RunError
from pwfn.records.rounds import RECORDS, RESULT, RoundRecord, read_records, write_atomically
from pwfn.renamed import with_present_names

CONFIG = "config.yaml"
NETWORK = "network.safetensors"  # at the end so far: after the last clustering, with a finishing after that
TRAINED = "trained.safetensors"  # after the last training, before the last clustering
PRETRAINED = "pretrained.safetensors"  # before any round: the plain model's state dict
VALUES = "codebook.json"  # the values that were made from the weights, if any were

EARLIER: dict[str, Any] = {  # what versions without these keys did, so that their runs can still be evaluated
    "report": False,
    "clustering._target_": "pwfn.clustering.rules.Greedy",
    "noise": True,
    "tolerance": {"_target_": "pwfn.clustering.tolerance.Sigma"},
    "finish": {"epochs": 0, "batchnorm_images": 0, "optimizer": {"_target_": "pwfn.training.optimizer.SGD"}},
    "distillation": {"weight": 0.0, "temperature": 1.0},
    "costly_round": {"points": None, "against": "previous", "stop": False},
}


class NotAFinishedRun(ValueError):
    """The folder holds no finished run; the message says what is missing."""


class FolderInUse(RunError):
    """The folder holds rounds of another run, with which those of a new one would be mixed up."""


def refuse_used(folder: Path) -> None:
    """Raise FolderInUse if a run has left rounds or checkpoints in `folder`."""
    found = RECORDS if (folder / RECORDS).exists() else next((path.name for path in files.files(folder)), None)
    if found:
        raise FolderInUse(
            f"{folder} holds a run already ({found}): go on with it (resume={folder}), choose another hydra.run.dir or "
            "move that run away"
        )


def is_finished(folder: Path) -> bool:
    """Whether the run in `folder` has all its figures: its result is written when nothing but the report is left to do."""
    return (folder / RESULT).is_file()


def write_config(folder: Path, plain: Any) -> None:
    """The resolved config, from which everything can be rebuilt."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / CONFIG, OmegaConf.to_yaml(OmegaConf.create(plain)))


def save(folder: Path, network: nn.Module, round_index: int, file: str = NETWORK) -> None:
    """Replace a saved network by the present one: means, sigmas, assignments, and everything that is not quantised."""
    _replace(folder / file, lambda part: save_model(network, part, metadata={"round": str(round_index)}))


def save_pretrained(folder: Path, network: nn.Module) -> None:
    """Keep the network that everything is compared with as a plain state dict, which timm and `model.checkpoint` read."""
    state = {name: tensor.detach().contiguous().clone() for name, tensor in plain_state(network).items()}
    _replace(folder / PRETRAINED, lambda part: save_file(state, part, metadata={"format": "pt"}))


def read_pretrained(folder: Path) -> dict[str, torch.Tensor]:
    """The plain state dict that `save_pretrained` kept; raises RunError."""
    path = folder / PRETRAINED
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise RunError(f"{path}, which teaches, cannot be read: {' '.join(str(error).split())[:200]}") from error


def _replace(path: Path, write: Callable[[str], None]) -> None:
    part = path.with_name(f".{path.name}.part")
    write(str(part))
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.replace(path)


def read_config(folder: Path) -> DictConfig:
    """The config a run was started with."""
    path = folder / CONFIG
    if not path.is_file():
        raise NotAFinishedRun(f"{folder} is not the folder of a run: it has no {CONFIG}")
    try:
        cfg = OmegaConf.load(path)
    except (YAMLError, OmegaConfBaseException, UnicodeDecodeError) as error:
        raise NotAFinishedRun(f"{path} cannot be read: {' '.join(str(error).split())[:200]}") from error
    if not isinstance(cfg, DictConfig):
        raise NotAFinishedRun(f"{path} is not a config: it is not a mapping")
    cfg = DictConfig(with_present_names(OmegaConf.to_container(cfg)))
    for key, value in EARLIER.items():
        if OmegaConf.select(cfg, key) is None:
            OmegaConf.update(cfg, key, value)
    return cfg


def save_values(folder: Path, values: Values | None) -> None:
    """The values that the weights may take, if they were made from the weights."""
    if values is not None and (made := values.saved()) is not None:
        write_atomically(folder / VALUES, json.dumps(made) + "\n")


def read_values(folder: Path) -> Values | None:
    """What `save_values` has left; None if there was nothing to leave. Raises RunError for a file that cannot be read."""
    path = folder / VALUES
    if not path.is_file():
        return None
    try:
        return Table.of(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path} cannot be read: {type(error).__name__} {error}") from error


def finished_records(folder: Path) -> list[RoundRecord]:
    """The records of all rounds; raises NotAFinishedRun unless all weights were fixed and the network was saved."""
    if not folder.is_dir():
        raise NotAFinishedRun(f"{folder} is not a finished run: there is no such folder")
    if not (folder / RECORDS).is_file():
        raise NotAFinishedRun(f"{folder} is not a finished run: it has no {RECORDS}")
    try:
        records = read_records(folder)
    except (OSError, ValueError) as error:
        raise NotAFinishedRun(f"{folder} is not a finished run: {error}") from error
    if not records or records[-1].fraction != 1.0:
        done = f"{len(records)} rounds done, {100 * records[-1].fraction:g} % fixed" if records else "no round is done"
        raise NotAFinishedRun(f"{folder} is not a finished run: {done}")
    return records


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
        raise NotAFinishedRun(f"{path} cannot be read: {' '.join(str(error).split())[:200]}") from error


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
        raise NotAFinishedRun(f"{path} cannot be read: {' '.join(str(error).split())[:200]}") from error
