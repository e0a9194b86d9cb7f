"""What is evaluated: the networks of a finished run, or the one of an artifact, with images and recorded scores."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import nn

from pwfn.artifact import ArtifactError, describe, load
from pwfn.bayesian.posterior import set_sigma, to_bayesian
from pwfn.checkpoint import saved_config, saved_networks, saved_run
from pwfn.config import build
from pwfn.data import DataError, ImageData
from pwfn.data.module import ImageDataModule
from pwfn.errors import one_line
from pwfn.evaluation.settings import EvaluateSettings
from pwfn.models.precision import AUTOCAST
from pwfn.models.timm_model import build_bayesian, data_config
from pwfn.records import files
from pwfn.records.files import SUMMARY_FILE
from pwfn.records.rounds import RoundRecord, Scores, last_clustering
from pwfn.run.settings import TrainSettings

FOLDER = "evaluation"
NO_NOISE = "no round trained under noise (noise=false, or no epochs), so no sigma was learned"
PRETRAINED, TRAINED, CLUSTERED = "pretrained", "trained", "clustered"


@dataclass(frozen=True)
class Subject:
    """`networks` are built when they are called for, `learned` are those whose sigmas were learned, so that draws mean
    something; where there are none, `not_learned` says why. `recorded` are scores at the mean weights, `precision` is
    the one they were computed in."""

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


def subject_of(settings: EvaluateSettings) -> Subject:
    """Raises NotAFinishedRun, ConfigError, ArtifactError or DataError."""
    return _of_run(settings) if settings.run is not None else _of_artifact(settings)


def _of_run(settings: EvaluateSettings) -> Subject:
    folder = Path(str(settings.run))
    records = saved_run.finished_records(folder)
    record, clustering = records[-1], last_clustering(records)
    assert clustering is not None  # or it would not be finished
    saved, precision = rebuilt_settings(folder, settings.data_root)
    networks: dict[str, Callable[[], nn.Module]] = {
        PRETRAINED: lambda: _pretrained(folder, saved),
        TRAINED: lambda: _saved(folder, saved, clustering.round, files.TRAINED),
        CLUSTERED: lambda: _saved(folder, saved, record.round, files.NETWORK),
    }
    recorded = {TRAINED: clustering.trained, CLUSTERED: record.clustered}
    before, identity = _summary(folder)
    if before is not None:
        recorded[PRETRAINED] = before
    notes = []
    for name, file in ((PRETRAINED, files.PRETRAINED), (TRAINED, files.TRAINED)):
        if not (folder / file).is_file():
            del networks[name]
            notes.append(f"The run has no {file}: its {name} network is not measured.")
    not_learned = "" if saved.learns_sigma else NO_NOISE
    if not_learned and settings.samples > 0:
        notes.append(f"No ensemble: {not_learned}.")
    return Subject(
        title=str(folder),
        of="the run's last record",
        folder=Path(settings.output or folder / FOLDER),
        data=ImageDataModule(saved.data, data_config(_network(saved, "meta")), saved.seed),
        networks=networks,
        learned=() if not_learned else tuple(name for name in (TRAINED, CLUSTERED) if name in networks),
        recorded=recorded,
        precision=precision,
        notes=notes,
        not_learned=not_learned,
        identity=identity,
    )


def _summary(folder: Path) -> tuple[Scores | None, dict[str, Any]]:
    """The scores before any round and the run's identity, as far as its summary has them."""
    path = folder / SUMMARY_FILE
    if not path.is_file():
        return None, {}
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        return Scores(**said["pretrained"]), dict(said["run"].get("identity", {}))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise saved_run.NotAFinishedRun(f"{path} cannot be read: {one_line(error)}") from error


def _network(saved: TrainSettings, device: str = "cpu") -> nn.Module:
    data = saved.data
    return build_bayesian(
        saved.model, num_classes=data.num_classes, in_chans=data.channels, load_weights=False, device=device
    )


def _saved(folder: Path, saved: TrainSettings, round_index: int, file: str) -> nn.Module:
    network = _network(saved)
    saved_networks.load(folder, network, round_index, file)
    return network


def _pretrained(folder: Path, saved: TrainSettings) -> nn.Module:
    """The network before any round, with the sigmas that the prior gave it."""
    network = _network(saved)
    saved_networks.load_pretrained(folder, network)
    set_sigma(network, saved.prior)
    return network


def rebuilt_settings(folder: Path, data_root: str | None = None) -> tuple[TrainSettings, str]:
    """A run's settings from its saved config, without what only training needs (starting weights, logger, trainer), and
    the precision it computed in. `data_root` takes the place of `data.root`, for images that have moved."""
    cfg = saved_config.read_config(folder)
    try:
        precision = str(OmegaConf.select(cfg, "trainer.precision", default="32-true"))
        if data_root is not None:
            _move_data(cfg, data_root)
        OmegaConf.update(cfg, "model.pretrained", False)
        OmegaConf.update(cfg, "model.checkpoint", None)
        OmegaConf.update(cfg, "compile", False)
        OmegaConf.update(cfg, "distillation.weight", 0.0)
        OmegaConf.update(cfg, "logger", {"_target_": "pwfn.monitoring.NoLogger"}, merge=False)
        OmegaConf.update(cfg, "trainer", {}, merge=False)
        OmegaConf.update(cfg, "artifact", {"every_round": False, "sigma": False}, merge=False)
        OmegaConf.update(cfg, "checkpoint", {"every_minutes": None, "every_steps": None, "keep": 1}, merge=False)
        return build.load(TrainSettings, cfg), precision
    except (OmegaConfBaseException, build.ConfigError) as error:
        raise saved_run.NotAFinishedRun(f"{folder / files.CONFIG}: {error}") from error


def _move_data(cfg: DictConfig, root: str) -> None:
    if "root" not in (OmegaConf.select(cfg, "data") or {}):
        raise build.ConfigError([f"data_root = {root!r}: must be null, the run's images are in no folder"])
    OmegaConf.update(cfg, "data.root", root)


def _of_artifact(settings: EvaluateSettings) -> Subject:
    path, data = settings.artifact, settings.data
    assert path is not None and data is not None
    said = describe(path)
    images, notes = artifact_data(path, said, data)
    not_learned = _not_learned(said)
    if settings.samples > 0 and not_learned:
        notes.append(f"No ensemble: {not_learned}.")
    recorded = recorded_scores(path, said)
    return Subject(
        title=path,
        of="the artifact's record",
        folder=Path(settings.output or FOLDER),
        data=images,
        networks={CLUSTERED: lambda: _artifact_network(path, said)},
        learned=() if not_learned else (CLUSTERED,),
        recorded={} if recorded is None else {CLUSTERED: recorded},
        precision=_precision(said["config"]),
        notes=notes,
        not_learned=not_learned,
    )


def _not_learned(said: Mapping[str, Any]) -> str:
    """Why no network should be drawn from an artifact, which may be a stranger's; empty where it may."""
    if said["sigma"] is None:
        return "the artifact was written without sigmas (artifact.sigma=true in the run)"
    schedule = _part(said["config"], "schedule")
    fractions = schedule.get("fractions")
    one_round = isinstance(fractions, list) and len(fractions) == 1
    untrained = schedule.get("first_epochs") == 0 and (one_round or schedule.get("rest_epochs") == 0)
    return NO_NOISE if untrained or _part(said, "config").get("noise") is False else ""


def _part(whole: Any, key: str) -> Mapping[str, Any]:
    """A group of a config that may be a stranger's; empty where it has none."""
    part = whole.get(key) if isinstance(whole, Mapping) else None
    return part if isinstance(part, Mapping) else {}


def _precision(config: Any) -> str:
    """What a run's config, read from a file that may be a stranger's, says it computed in; 32-true if it says nothing."""
    precision = _part(config, "trainer").get("precision")
    return precision if isinstance(precision, str) and precision in AUTOCAST else "32-true"


def _artifact_network(path: str, said: Mapping[str, Any]) -> nn.Module:
    """A Bayesian network in any case; without sigmas in the file it has only means."""
    if said["sigma"] is not None:
        return load(path, posterior=True)
    network = load(path)
    coded = {name for one in said["coded"] for name in one["names"]}
    others = {name for name, _ in network.named_parameters(remove_duplicate=False)} - coded
    to_bayesian(network, include=tuple(sorted(coded)), exclude=tuple(sorted(others)))
    return network.eval()


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
