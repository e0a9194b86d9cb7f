"""Find the network, images and recorded scores of an artifact."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from pwfn.artifact import ArtifactError, describe, load
from pwfn.bayesian.posterior import to_bayesian
from pwfn.bayesian.starting_sigma import StartingSigma
from pwfn.config.classes import concrete, exported_name
from pwfn.data import DataError, ImageData
from pwfn.data.module import ImageDataModule
from pwfn.evaluation.class_columns import answer_in, columns_of
from pwfn.evaluation.settings import EvaluateSettings
from pwfn.evaluation.subject import CLUSTERED, FOLDER, NO_NOISE, Subject
from pwfn.models.precision import AUTOCAST
from pwfn.records.rounds import RoundRecord, Scores

PREPARED = ("image_size", "crop_pct", "mean", "std", "interpolation")  # keys of the data that an artifact decides


def subject_of_artifact(settings: EvaluateSettings) -> Subject:
    """Return the network of the artifact that the settings name; raises ArtifactError or DataError."""
    path, data = settings.artifact, settings.data
    assert path is not None
    assert data is not None
    header = describe(path)
    images, columns, notes = artifact_data(path, header, data)
    not_learned = not_learned_in(header)
    if settings.samples > 0 and not_learned:
        notes.append(f"No ensemble: {not_learned}.")
    # scores over all classes say nothing of images of some
    some = columns is not None and len(columns) < header["model"]["num_classes"]
    recorded = None if some else recorded_scores(path, header)
    return Subject(
        title=path,
        of="the artifact's record",
        folder=Path(settings.output or FOLDER),
        data=images,
        networks={CLUSTERED: lambda: answer_in(columns, artifact_network(path, header))},
        learned=() if not_learned else (CLUSTERED,),
        recorded={} if recorded is None else {CLUSTERED: recorded},
        precision=_precision(header["config"]),
        notes=notes,
        not_learned=not_learned,
    )


def not_learned_in(header: Mapping[str, Any]) -> str:
    """Say why no network should be drawn from an artifact; empty where one may."""
    if header["sigma"] is None:
        return "the artifact was written without sigmas (artifact.sigma=true in the run)"
    posteriors = {exported_name(cls) for cls in concrete(StartingSigma) if getattr(cls, "is_posterior", False)}
    if _group(header["config"], "sigma").get("_target_") in posteriors:
        return ""
    schedule = _group(header["config"], "schedule")
    fractions = schedule.get("fractions")
    one_round = isinstance(fractions, list) and len(fractions) == 1
    untrained = schedule.get("first_epochs") == 0 and (one_round or schedule.get("rest_epochs") == 0)
    return NO_NOISE if untrained or _group(header, "config").get("noise") is False else ""


def _group(whole: Any, key: str) -> Mapping[str, Any]:
    """Return a group of a config that may be a stranger's; empty where it has none."""
    group = whole.get(key) if isinstance(whole, Mapping) else None
    return group if isinstance(group, Mapping) else {}


def _precision(config: Any) -> str:
    """Read the precision from a config that may be a stranger's; 32-true where it has none."""
    precision = _group(config, "trainer").get("precision")
    return precision if isinstance(precision, str) and precision in AUTOCAST else "32-true"


def artifact_network(path: str, header: Mapping[str, Any]) -> nn.Module:
    """Load a Bayesian network in any case; without sigmas in the file it has only means."""
    if header["sigma"] is not None:
        return load(path, posterior=True)
    network = load(path)
    coded = {name for one in header["coded"] for name in one["names"]}
    others = {name for name, _ in network.named_parameters(remove_duplicate=False)} - coded
    to_bayesian(network, include=tuple(sorted(coded)), exclude=tuple(sorted(others)))
    return network.eval()


def artifact_data(
    path: str, header: Mapping[str, Any], data: ImageData
) -> tuple[ImageDataModule, list[int] | None, list[str]]:
    """Prepare the images of `data` as an artifact says. Only its test images need to be there.

    Args:
        path: the artifact.
        header: its description, from `pwfn.describe`.
        data: the images to measure on.

    Returns:
        The images; the network's output for each of their classes, None where these are all outputs in their order;
        and what the user should know about them.

    Raises:
        ArtifactError: the artifact does not say how to prepare images.
        DataError: the network was not made for such images.
    """
    recipe, preprocessing, names = header["model"], header["data"], header["class_names"]
    if recipe is None or preprocessing is None:
        raise ArtifactError(f"{path} does not say how to build its model or how to prepare its images")
    own = data.test_class_names
    if (names is None or own is None) and data.num_classes != recipe["num_classes"]:
        raise DataError(f"data has {data.num_classes} classes, the network of {path} {recipe['num_classes']}")
    if data.channels != recipe["in_chans"]:
        raise DataError(
            f"data has images of {data.channels} channels, the network of {path} takes {recipe['in_chans']}"
        )
    columns, note = (None, "") if names is None or own is None else columns_of(path, names, own)
    notes = [note] if note else []
    side = preprocessing["input_size"][1:]
    given = [name for name in PREPARED if getattr(data, name) is not None]
    if given and (given != ["image_size"] or side != [data.image_size] * 2):
        notes.append(f"Images are prepared as the artifact says, at {side[0]} x {side[1]} pixels.")
    as_the_artifact: dict[str, Any] = dict.fromkeys(PREPARED)
    return ImageDataModule(replace(data, **as_the_artifact), preprocessing, seed=0), columns, notes


def recorded_scores(path: str, header: Mapping[str, Any]) -> Scores | None:
    """Return the scores that an artifact was written with; None where no run wrote it.

    Raises:
        ArtifactError: the record of its run cannot be read.
    """
    row = (header["metrics"] or {}).get("final")
    if row is None:
        return None
    try:
        return RoundRecord.from_flat(row).clustered
    except (ValueError, TypeError) as error:
        raise ArtifactError(f"{path}: its record cannot be read: {error}") from error
