"""Write and read the configuration that a run was started with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from pwfn.checkpoint.saved_run import NotAFinishedRun
from pwfn.errors import one_line
from pwfn.records.files import CLASS_ORDER, CONFIG, SPLIT, write_text
from pwfn.renamed import with_present_names
from pwfn.value_kinds import path_of

EARLIER: dict[str, Any] = {  # what versions without these keys did, so that their runs can still be evaluated
    "report": False,
    "resume": None,
    "keep": "all",
    "clustering._target_": "pwfn.clustering.Greedy",
    "noise": True,
    "sigma": {"_target_": "pwfn.bayesian.PriorSigma"},
    "tolerance": {"_target_": "pwfn.clustering.SigmaTolerance"},
    "finish": {"epochs": 0, "batchnorm_images": 0, "optimizer": {"_target_": "pwfn.training.SGD"}},
    "distillation": {"weight": 0.0, "temperature": 1.0},
    "costly_round": {"points": None, "against": "previous", "stop": False},
    "budget": {"megabytes": None, "bits": None, "drop": None},
    "artifact.plain": "exact",
    "kernels": "auto",
    "detect": "auto",
    "compile_mode": "default",
    "model.ema": True,
    "pretrain.head_epochs": 0,
    "codebook.per_tensor_max": None,
    "data.crop_pct": None,
    "data.mean": None,
    "data.std": None,
    "data.interpolation": None,
    "data.prefetch_factor": 2,
    "data.persistent_workers": True,
    "data.pin_memory": True,
    "data.normalize_on_device": False,
    "trainer.channels_last": False,
}
_FILES = {"exif": False, "check": False}
_FOLDERS = {"class_order": "sorted", "split": None, **_FILES}
EARLIER_DATA: dict[str, dict[str, Any]] = {  # the same for the data of these classes
    "pwfn.data.ImageFolder": _FOLDERS,
    "pwfn.data.ImageNet": _FOLDERS,
    "pwfn.data.TimmData": _FILES,
}


def write_config(folder: Path, config: Any) -> None:
    """Write the resolved configuration, from which everything can be rebuilt."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / CONFIG, OmegaConf.to_yaml(OmegaConf.create(config)))


def read_config(folder: Path) -> DictConfig:
    """Read the configuration that the run in `folder` was started with.

    Raises:
        NotAFinishedRun: where there is none that can be read.
    """
    path = folder / CONFIG
    if not path.is_file():
        raise NotAFinishedRun(f"{folder} is not the folder of a run: it has no {CONFIG}")
    try:
        cfg = OmegaConf.load(path)
    except (YAMLError, OmegaConfBaseException, UnicodeDecodeError) as error:
        raise NotAFinishedRun(f"{path} cannot be read: {one_line(error)}") from error
    if not isinstance(cfg, DictConfig):
        raise NotAFinishedRun(f"{path} is not a config: it is not a mapping")
    cfg = DictConfig(with_present_names(OmegaConf.to_container(cfg)))
    for key, value in EARLIER.items():
        if OmegaConf.select(cfg, key) is None:
            OmegaConf.update(cfg, key, value)
    earlier = EARLIER_DATA.get(OmegaConf.select(cfg, "data._target_"), {})
    if earlier:
        cfg.data = OmegaConf.merge(earlier, cfg.data)
    for key, copy in (("data.split", SPLIT), ("data.class_order", CLASS_ORDER)):
        file = OmegaConf.select(cfg, key)
        if isinstance(file, str) and not path_of(file).is_file() and (folder / copy).is_file():
            OmegaConf.update(cfg, key, str(folder / copy))
    return cfg


MAY_CHANGE = (
    "artifact.plain",
    "trainer.accelerator",
    "trainer.devices",
    "trainer.num_nodes",
    "trainer.strategy",
    "trainer.log_every_n_steps",
    "logger.*",
    "checkpoint.*",
    "costly_round.*",
    "data.root",
    "data.num_workers",
    "data.prefetch_factor",
    "data.persistent_workers",
    "data.pin_memory",
    "model.checkpoint",
    "kernels",
    "detect",
    "quiet",
    "report",
    "resume",
    "keep",
    "name",
)
