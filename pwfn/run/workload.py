"""How much work a run is, before it begins: what the plan of a sweep says, and what its clock reckons with."""

from __future__ import annotations

import math
from dataclasses import dataclass

from omegaconf import DictConfig, OmegaConf

from pwfn.config.build import ConfigError, load
from pwfn.data.samplers import ends_in_one, images_per_rank
from pwfn.run.settings import TrainSettings


@dataclass(frozen=True)
class Workload:
    """`epochs` counts passes over the training images, parts of one as parts; `steps` is None where the number of
    images is known only once they are read. Both are those of all stages together."""

    rounds: int
    epochs: float
    steps: int | None


def workload(settings: TrainSettings) -> Workload | None:
    """None for what trains nothing: a dry run, an inspection."""
    if settings.dry_run or settings.inspect:
        return None
    schedule, twice = settings.schedule, 2 if settings.schedule.training == "alternate" else 1
    phases = [(settings.pretrain.epochs, 1.0)]
    phases += [(twice * schedule.epochs(index), schedule.share(index)) for index in range(schedule.rounds)]
    phases.append((settings.finish.epochs, 1.0))
    counts = [_steps_of_an_epoch(settings, share) for _, share in phases]
    steps = sum(epochs * (count or 0) for (epochs, _), count in zip(phases, counts, strict=True))
    return Workload(
        settings.rounds_in_all,
        round(sum(epochs * share for epochs, share in phases), 6),
        None if None in counts else steps,
    )


def _steps_of_an_epoch(settings: TrainSettings, share: float) -> int | None:
    """As `pwfn.data.module` deals images out."""
    data, trainer = settings.data, settings.trainer
    images = data.train_images or data.known_images
    if images is None:
        return None
    if data.val_fraction:
        images -= round(data.val_fraction * images)
    each = images_per_rank(images, share, trainer.devices * trainer.num_nodes)
    batches = math.ceil(each / data.batch_size) - ends_in_one(each, data.batch_size)
    return math.ceil(batches / trainer.accumulate_grad_batches)


def of_config(config: DictConfig) -> Workload | None:
    """The same of a job's configuration as a sweep composes it; None also where it is not one of train.py."""
    keys = [str(key) for key in config if key != "hydra"]
    if not {"schedule", "pretrain", "data"} <= set(keys):
        return None
    try:
        return workload(load(TrainSettings, OmegaConf.masked_copy(config, keys)))
    except ConfigError:
        return None
