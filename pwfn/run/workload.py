"""Predict how many epochs and optimizer steps a run takes, for the plan of a sweep and its clock."""

from __future__ import annotations

import math
from dataclasses import dataclass

from omegaconf import DictConfig, OmegaConf

from pwfn.config.build import ConfigError, load
from pwfn.data.loading.samplers import ends_in_one, images_per_rank
from pwfn.run.rounds.schedule import Fit
from pwfn.run.settings import TrainSettings


@dataclass(frozen=True)
class Workload:
    """Count the work of all stages of a run together.

    Attributes:
        rounds: rounds of the schedule; the finishing is none.
        epochs: passes over the training images, a share of them counted as such.
        steps: optimizer steps; None where the number of images is known only once they are read.
    """

    rounds: int
    epochs: float
    steps: int | None


def workload(settings: TrainSettings) -> Workload | None:
    """Return the work of a run, or None for what trains nothing: a dry run, an inspection."""
    if settings.dry_run or settings.inspect:
        return None
    schedule = settings.schedule
    of_rounds = [fit for index in range(schedule.rounds) for fit in schedule.fits(index)]
    fits = [Fit(settings.pretrain.head_epochs), Fit(settings.pretrain.epochs), *of_rounds, Fit(settings.finish.epochs)]
    counts = [_steps_of_an_epoch(settings, fit.share) for fit in fits]
    steps = sum(fit.epochs * (count or 0) for fit, count in zip(fits, counts, strict=True))
    epochs = round(sum(fit.passes for fit in fits), 6)
    return Workload(schedule.rounds, epochs, None if None in counts else steps)


def _steps_of_an_epoch(settings: TrainSettings, share: float) -> int | None:
    # images are dealt out as in pwfn.data.module
    data, trainer = settings.data, settings.trainer
    images = data.train_images or data.known_images
    if images is None:
        return None
    images -= data.validation_images(images)
    each = images_per_rank(images, share, trainer.devices * trainer.num_nodes)
    batches = math.ceil(each / data.batch_size) - ends_in_one(each, data.batch_size)
    return math.ceil(batches / trainer.accumulate_grad_batches)


def of_config(config: DictConfig) -> Workload | None:
    """Return the work of a job from its composed configuration; None also where it is not one of train.py."""
    keys = [str(key) for key in config if key != "hydra"]
    if not {"schedule", "pretrain", "data"} <= set(keys):
        return None
    try:
        return workload(load(TrainSettings, OmegaConf.masked_copy(config, keys)))
    except ConfigError:
        return None
