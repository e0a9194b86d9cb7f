"""Describe what is evaluated: networks, images and recorded scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from pwfn.data.module import ImageDataModule
from pwfn.records.rounds import Scores

FOLDER = "evaluation"
NO_NOISE = "no round trained under noise (noise=false, or no epochs), so no sigma was learned"
PRETRAINED, TRAINED, CLUSTERED = "pretrained", "trained", "clustered"


@dataclass(frozen=True)
class Subject:
    """Hold the networks, images and recorded scores of what is evaluated.

    Attributes:
        title: the folder or the file.
        of: where the recorded scores come from, in words.
        folder: where the evaluation writes.
        networks: builds each network when it is called for.
        learned: the networks whose sigmas were learned, so that draws mean something.
        recorded: scores at the mean weights.
        precision: what the recorded scores were computed in.
        not_learned: why no sigma was learned, where that is so.
        identity: name, group and W&B id of the run.
    """

    title: str
    of: str
    folder: Path
    data: ImageDataModule
    networks: Mapping[str, Callable[[], nn.Module]]
    learned: tuple[str, ...]
    recorded: Mapping[str, Scores]
    precision: str
    notes: list[str] = field(default_factory=list)
    not_learned: str = ""
    identity: Mapping[str, Any] = field(default_factory=dict)  # of the run: its name, group and W&B id
