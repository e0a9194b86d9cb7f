"""Scores of a network that has been read again; an artifact is measured on a machine that never saw its run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from rich.console import Console
from torch import nn

from pwfn.artifact import ArtifactError, describe, load
from pwfn.data import DataError, ImageData
from pwfn.data.module import ImageDataModule
from pwfn.evaluation.predict import ensemble_probabilities, score
from pwfn.module import BayesianClassifier
from pwfn.record import RoundRecord, Scores
from pwfn.regularizer import NoRegularizer
from pwfn.reporting import scores_table
from pwfn.rounds import LightningRunner
from pwfn.settings import EvaluateSettings


def measure_artifact(settings: EvaluateSettings, console: Console) -> dict[str, Scores]:
    """Measure an artifact on the data of the settings; scores by row of the table that is printed."""
    assert settings.artifact is not None and settings.data is not None
    said = describe(settings.artifact)
    data, notes = artifact_data(settings.artifact, said, settings.data)
    ensemble = settings.samples > 0 and said["sigma"] is not None
    if settings.samples > 0 and not ensemble:
        notes.append("No ensemble: the artifact was written without sigmas (artifact.sigma=true in the run).")
    network = load(settings.artifact, posterior=ensemble)
    recorded = recorded_scores(settings.artifact, said)
    rows = measured(settings, network, data, recorded, samples=settings.samples if ensemble else 0)
    console.print(scores_table(settings.artifact, rows))
    if recorded is not None:
        same = rows["mean"] == recorded
        notes.append(f"The scores at the mean weights {'equal' if same else 'DIFFER from'} the artifact's record.")
    for note in notes:
        console.print(note, soft_wrap=True)
    return rows


def artifact_data(path: str, said: Mapping[str, Any], data: ImageData) -> tuple[ImageDataModule, list[str]]:
    """The images of `data`, prepared as the artifact says, and what the user should know about that.

    `said` is what `pwfn.describe` says of `path`. Raises DataError for images the network was not made for.
    """
    recipe, preprocessing, names = said["model"], said["data"], said["class_names"]
    if recipe is None or preprocessing is None:
        raise ArtifactError(f"{path} does not say how to build its model or how to prepare its images")
    if data.num_classes != recipe["num_classes"]:
        raise DataError(f"data has {data.num_classes} classes, the network of {path} {recipe['num_classes']}")
    if data.channels != recipe["in_chans"]:
        raise DataError(
            f"data has images of {data.channels} channels, the network of {path} takes {recipe['in_chans']}"
        )
    if names is not None and data.class_names is not None and list(data.class_names) != names:
        raise DataError(f"data has the classes {_some(data.class_names)}, the network of {path} {_some(names)}")
    notes = []
    side = preprocessing["input_size"][1:]
    if data.image_size is not None and side != [data.image_size] * 2:
        notes.append(f"Images are prepared as the artifact says, at {side[0]} x {side[1]} pixels.")
    return ImageDataModule(replace(data, image_size=None), preprocessing, seed=0), notes


def recorded_scores(path: str, said: Mapping[str, Any]) -> Scores | None:
    """The scores after the clustering that the artifact was written after; None where it was not written by a run."""
    row = (said["metrics"] or {}).get("final")
    if row is None:
        return None
    try:
        return RoundRecord.from_flat(row).clustered
    except (ValueError, TypeError) as error:
        raise ArtifactError(f"{path}: its record cannot be read: {error}") from error


def _some(names: Any) -> str:
    listed = ", ".join(map(str, names[:5]))
    return f"{listed} ..." if len(names) > 5 else listed


def measured(
    settings: EvaluateSettings, network: nn.Module, data: ImageDataModule, recorded: Scores | None, *, samples: int
) -> dict[str, Scores]:
    """Scores at the mean and, for `samples` above 0, of an ensemble, after those that were recorded, if any were."""
    module = BayesianClassifier(network, NoRegularizer())
    trainer = settings.trainer.build(folder=".", callbacks=[], logger=None)
    rows = {"recorded": recorded} if recorded is not None else {}
    rows["mean"] = LightningRunner(trainer, module, data).test()
    if samples:
        loader = data.test_dataloader()
        labels = torch.cat([labels for _, labels in loader])
        probabilities = ensemble_probabilities(network, loader, samples=samples, seed=settings.seed)
        rows[f"ensemble of {samples}"] = score(probabilities, labels)
    return rows
