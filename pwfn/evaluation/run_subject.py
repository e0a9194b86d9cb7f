"""Find the networks, images and recorded scores of a finished run."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import nn

from pwfn.artifact import ArtifactError, describe
from pwfn.bayesian.posterior import set_sigma
from pwfn.checkpoint import saved_config, saved_networks, saved_run
from pwfn.config import build
from pwfn.data.files.folder_split import with_kept_choices
from pwfn.data.module import ImageDataModule
from pwfn.errors import one_line
from pwfn.evaluation.artifact_subject import artifact_network, not_learned_in
from pwfn.evaluation.settings import EvaluateSettings
from pwfn.evaluation.subject import CLUSTERED, FOLDER, NO_NOISE, PRETRAINED, TRAINED, Subject
from pwfn.models.meta_build import build_without_weights
from pwfn.models.timm_model import build_bayesian, data_config
from pwfn.records import files
from pwfn.records.files import SUMMARY_FILE
from pwfn.records.rounds import Scores, last_clustering
from pwfn.run.settings import TrainSettings


def subject_of_run(settings: EvaluateSettings) -> Subject:
    """Return the networks of the finished run that the settings name; raises NotAFinishedRun."""
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
    recorded |= {} if before is None else {PRETRAINED: before}
    notes = []
    for name, file in ((PRETRAINED, files.PRETRAINED), (TRAINED, files.TRAINED)):
        if not (folder / file).is_file():
            del networks[name]
            notes.append(f"The run has no {file}: its {name} network is not measured.")
    not_learned = "" if saved.has_posterior else NO_NOISE
    if not (folder / files.NETWORK).is_file():
        networks[CLUSTERED], without_sigmas = _kept_artifact(folder)
        notes.append(f"The run has no {files.NETWORK}: its clustered network is that of {files.ARTIFACT}.")
        not_learned = not_learned or without_sigmas
    if not_learned and settings.samples > 0:
        notes.append(f"No ensemble: {not_learned}.")
    return Subject(
        title=str(folder),
        of="the run's last record",
        folder=Path(settings.output or folder / FOLDER),
        data=ImageDataModule(saved.data, _data_config(saved), saved.seed),
        networks=networks,
        learned=() if not_learned else tuple(name for name in (TRAINED, CLUSTERED) if name in networks),
        recorded=recorded,
        precision=precision,
        notes=notes,
        not_learned=not_learned,
        identity=identity,
    )


def _kept_artifact(folder: Path) -> tuple[Callable[[], nn.Module], str]:
    """Return what stands for a network that was not kept (`keep=result`), and why it has no sigmas, if so."""
    path = folder / files.ARTIFACT
    try:
        header = describe(path)
        return lambda: artifact_network(str(path), header), not_learned_in(header)
    except (OSError, ArtifactError) as error:
        why = f"it has no {files.NETWORK} (keep=result removes it), and {path} cannot be read: {one_line(error)}"
        raise saved_run.NotAFinishedRun(f"{folder} cannot be evaluated: {why}") from error


def _summary(folder: Path) -> tuple[Scores | None, dict[str, Any]]:
    """Read the scores before any round and the run's identity, as far as its summary has them."""
    path = folder / SUMMARY_FILE
    if not path.is_file():
        return None, {}
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
        return Scores(**summary["pretrained"]), dict(summary["run"].get("identity", {}))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise saved_run.NotAFinishedRun(f"{path} cannot be read: {one_line(error)}") from error


def _network(saved: TrainSettings) -> nn.Module:
    data = saved.data
    return build_bayesian(saved.model, num_classes=data.num_classes, in_chans=data.channels, load_weights=False)


def _data_config(saved: TrainSettings) -> dict[str, Any]:
    data = saved.data
    network, _ = build_without_weights(saved.model, num_classes=data.num_classes, in_chans=data.channels)
    return data_config(network)


def _saved(folder: Path, saved: TrainSettings, round_index: int, file: str) -> nn.Module:
    network = _network(saved)
    saved_networks.load(folder, network, round_index, file)
    return network


def _pretrained(folder: Path, saved: TrainSettings) -> nn.Module:
    """Build the network before any round, with the sigmas that the prior gave it."""
    network = _network(saved)
    saved_networks.load_pretrained(folder, network)
    set_sigma(network, saved.prior)
    return network


def rebuilt_settings(folder: Path, data_root: str | None = None) -> tuple[TrainSettings, str]:
    """Rebuild a run's settings from its saved config, without what only training needs.

    Starting weights, logger, trainer and compilation are left out.

    Args:
        folder: the folder of the run.
        data_root: takes the place of `data.root`, for images that have moved.

    Returns:
        The settings, and the precision the run computed in.

    Raises:
        NotAFinishedRun: the configuration cannot be read.
    """
    cfg = saved_config.read_config(folder)
    try:
        precision = str(OmegaConf.select(cfg, "trainer.precision", default="32-true"))
        if data_root is not None:
            _move_data(cfg, data_root)
        OmegaConf.update(cfg, "model.pretrained", False)
        OmegaConf.update(cfg, "model.checkpoint", None)
        OmegaConf.update(cfg, "compile", False)
        OmegaConf.update(cfg, "compile_mode", "default")
        OmegaConf.update(cfg, "kernels", "auto")  # the run's may not be installed here
        OmegaConf.update(cfg, "distillation.weight", 0.0)
        OmegaConf.update(cfg, "logger", {"_target_": "pwfn.monitoring.NoLogger"}, merge=False)
        OmegaConf.update(cfg, "trainer", {}, merge=False)
        OmegaConf.update(cfg, "artifact", {"every_round": False, "sigma": False, "plain": "exact"}, merge=False)
        OmegaConf.update(cfg, "checkpoint", {"every_minutes": None, "every_steps": None, "keep": 1}, merge=False)
        settings = build.load(TrainSettings, cfg)
        data = with_kept_choices(settings.data, folder / files.SPLIT, folder / files.CLASS_ORDER)
        return replace(settings, data=data), precision
    except (OmegaConfBaseException, build.ConfigError) as error:
        raise saved_run.NotAFinishedRun(f"{folder / files.CONFIG}: {error}") from error


def _move_data(cfg: DictConfig, root: str) -> None:
    if "root" not in (OmegaConf.select(cfg, "data") or {}):
        raise build.ConfigError([f"data_root = {root!r}: must be null, the run's images are in no folder"])
    OmegaConf.update(cfg, "data.root", root)
