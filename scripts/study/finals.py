"""Read the ends of the study's runs from the CSV files of results/."""

from __future__ import annotations

import csv
import math
import shlex
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

UNFINISHED = " finish=none"  # of runs before the study's experiments had a finishing, whose commands do not say so
NO_TRAINING = "no training"
TRAINED, ONE_SHOT, CODEBOOKS, CHOSEN = "", "one-shot", "codebooks", "chosen"
OF_CODEBOOK = ("codebook.b=", "codebook.max_order=")
PLACED = ("seed=", "experiment=study_", "pretrain=", "model.checkpoint=", "logger=", "keep=", "sigma.path=")


@dataclass(frozen=True)
class Final:
    """Describe the end of one run."""

    network: str
    seed: int
    setting: str  # what its command says beside network and seed
    rule: str  # what is compared: tolerance, noise, codebook and clustering, without how far they are turned up
    pretrained: float
    unfinished: float  # top1 after the last clustering, before what is not quantized trained on
    top1: float
    bits: float
    values: int
    file_mb: float
    validated: float | None  # top1 on the validation images, where there are some
    live_bits: float | None  # bits per weight of those that the loss feels at all, where that was measured
    evaluated: dict[str, float]  # figures of evaluate.py, where it was run

    @property
    def work(self) -> float:
        """Count shifts and adds of an image per multiplication they replace; nan: not measured."""
        if not self.evaluated:
            return math.nan
        return (self.evaluated["bill/total/shifts"] + self.evaluated["bill/total/adds"]) / self.evaluated[
            "bill/total/macs"
        ]

    @property
    def change(self) -> float:
        """Return the final top1 less the pretrained network's, in points."""
        return self.top1 - self.pretrained

    @property
    def section(self) -> str:
        """Return the table it stands in; CHOSEN: settings are chosen by validation images."""
        if self.validated is not None:
            return CHOSEN
        if NO_TRAINING in self.rule:
            return ONE_SHOT
        return CODEBOOKS if any(key in self.setting for key in OF_CODEBOOK) else TRAINED


def finals(path: Path) -> list[Final]:
    """Read the last round of every run of a table."""
    figures = evaluated(path.with_name(path.name.replace("_rounds", "_evaluations")))
    live = live_bits(path.with_name(path.name.replace("_rounds", "_live")))
    last: dict[tuple[str, str], dict[str, str]] = {}
    clustered: dict[tuple[str, str], float] = {}
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):  # rounds are in order
            run = row["command"], row["commit"]
            last[run] = row
            if float(row["fraction"]) == 1:
                clustered.setdefault(run, float(row["clustered/top1"]))
    return [
        Final(
            network=row["network"],
            seed=int(row["seed"]),
            setting=setting(row),
            rule=rule(row),
            pretrained=float(row["pretrained_top1"]),
            unfinished=clustered[run],
            top1=float(row["clustered/top1"]),
            bits=float(row["tensor_entropy_bits" if within_tensors(row) else "entropy_bits"]),
            values=int(row["unique_weights"]) if row["scope"] != "tensor" else int(row["tensor_values"]),
            file_mb=float(row["file_mb"]),
            validated=float(row["clustered/val_top1"]) if row.get("clustered/val_top1") else None,
            live_bits=live.get(run),
            evaluated=figures.get(run, {}),
        )
        for run, row in last.items()
    ]


def within_tensors(row: dict[str, str]) -> bool:
    """Tell whether bits are counted within each tensor, as model.pwfn codes them; earlier runs were not."""
    return row["scope"] == "tensor" or bool(row.get("clustered/val_top1"))


def live_bits(path: Path) -> dict[tuple[str, str], float]:
    """Read the bits per live weight of each run."""
    if not path.exists():
        return {}
    with path.open(encoding="utf-8", newline="") as file:
        return {(row["command"], row["commit"]): float(row["live_bits"]) for row in csv.DictReader(file)}


def evaluated(path: Path) -> dict[tuple[str, str], dict[str, float]]:
    """Read the figures that evaluations add to each run."""
    found: dict[tuple[str, str], dict[str, float]] = defaultdict(dict)
    if path.exists():
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                found[row["command"], row["commit"]][row["figure"]] = float(row["value"])
    return found


def setting(row: dict[str, str]) -> str:
    """Return what the command says beside network and seed, and that an older run had no finishing."""
    words = shlex.split(row["command"])[2:]
    said = " ".join(
        word.replace("=False", "=false").replace("=True", "=true") for word in words if not word.startswith(PLACED)
    )
    return said if int(row["finish_epochs"]) or UNFINISHED in said else said + UNFINISHED


def rule(row: dict[str, str]) -> str:
    """Name a curve of the picture."""
    parts = [] if row["clustering"] in ("Nearest", "SecondOrder") else [row["tolerance"].lower()]
    if row["codebook"] != "AdditivePow2":
        parts.append(row["codebook"].lower())
    if row["clustering"] != "Greedy":
        parts.append(
            {"GreedyBits": "bits first", "Nearest": "nearest", "SecondOrder": "second order"}[row["clustering"]]
        )
    if row["scope"] == "tensor":
        parts.append("per tensor")
    parts.append("noise" if row["noise"] == "true" else "no noise")
    if float(row["rest_epochs"]) == 0:
        parts.append(NO_TRAINING)
    elif float(row["rest_epochs"]) != 1:
        parts.append(f"{row['rest_epochs']} epochs a round")
    elif not int(row["finish_epochs"]):
        parts.append("no finishing")
    if float(row["distillation"] or 0):
        parts.append("distilled")
    return ", ".join(parts)


def groups(runs: Iterable[Final]) -> dict[str, list[Final]]:
    """Group runs by their setting; ValueError where a setting has a seed twice."""
    found: dict[str, list[Final]] = defaultdict(list)
    for run in runs:
        if any(run.seed == other.seed for other in found[run.setting]):
            raise ValueError(f"{run.network}, {run.setting}: seed {run.seed} is there twice")
        found[run.setting].append(run)
    return found
