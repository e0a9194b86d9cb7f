"""One run from its configuration to its final table."""

from __future__ import annotations

import json
import logging
import os
import warnings
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from pwfn.artifact import describe
from pwfn.bayesian.coverage import Coverage, coverage
from pwfn.bayesian.flat_weights import FlatWeights
from pwfn.bayesian.posterior import quantized_tensors
from pwfn.checkpoint import files, saved_config, saved_run
from pwfn.checkpoint.callback import Saver, read_checkpoint
from pwfn.checkpoint.identity import Identity
from pwfn.checkpoint.run_state import RunState
from pwfn.data.module import ImageDataModule
from pwfn.errors import RunError, Stopped
from pwfn.models.padding import padding_warnings
from pwfn.models.timm_model import build_bayesian, data_config, warn_if_new_head, warn_if_random
from pwfn.monitoring.console import show
from pwfn.monitoring.loggers import run_logger
from pwfn.monitoring.plots import draw_rounds, draw_weights
from pwfn.monitoring.progress import RunProgress
from pwfn.monitoring.run_reporter import RunReporter
from pwfn.randomness import seed_rank, seed_run
from pwfn.records.columns import csv_text
from pwfn.records.files import ARTIFACT, HISTOGRAM, LAYERS, write_text
from pwfn.records.layer_table import LAYER_COLUMNS, layer_rows
from pwfn.records.provenance import Provenance
from pwfn.records.rounds import RoundRecord, Scores
from pwfn.records.weight_histogram import WeightHistogram
from pwfn.report import report_at_end
from pwfn.run.artifact import ARTIFACT_FACTS, recipe_warnings, write_for_run
from pwfn.run.lightning_runner import LightningRunner
from pwfn.run.settings import TrainSettings
from pwfn.run.stages import Stages
from pwfn.training.module import BayesianClassifier
from pwfn.training.phase import TrainingDiverged
from pwfn.training.signals import StopRequest
from pwfn.training.step_statistics import StepStatistics


@dataclass(frozen=True)
class Finished:
    """What a run leaves in memory, for whoever called it."""

    network: nn.Module
    baseline: Scores
    records: list[RoundRecord]
    folder: Path


def _quiet_lightning() -> None:
    """Keep what Lightning says at every fit off the console: a run fits dozens of times, and shows its own progress."""
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    known = (
        "The number of training batches.*",
        "Total length of .* across ranks is zero.*",
        "Your `IterableDataset` has .*",
        "You're resuming from a checkpoint that ended before the epoch ended.*",  # the samplers know where to go on
    )
    for message in (".*LeafSpec.*", *known):
        warnings.filterwarnings("ignore", message)


def run(
    settings: TrainSettings, plain: Any, folder: Path, *, name: str, group: str | None = None, resume: bool = False
) -> Finished:
    """Build everything, train, and leave the folder complete. `plain` is the resolved config that is saved with it.

    With `resume` the run in `folder` goes on from its newest checkpoint, under the name it has.
    """
    _quiet_lightning()
    settings.data.check()
    seed_run(settings.seed)
    # now, because the checkout may be another by the end
    provenance = Provenance.of_run(folder) if resume else Provenance.of_this_program()
    console = Console(stderr=False)
    saved = read_checkpoint(folder) if resume else None
    state = RunState.from_dict(saved["state"]) if saved else RunState()
    network = build_network(settings, load_weights=saved is None)
    if saved:
        network.load_state_dict(saved.pop("network"))
    identity = Identity.of(folder) if resume else Identity.new(name, group)
    progress = RunProgress(console, quiet=settings.quiet)
    cover = coverage(network)
    module = BayesianClassifier(
        network,
        settings.regularizer,
        label_smoothing=settings.label_smoothing,
        compiled=settings.compile,
        distillation=settings.distillation,
    )
    _refuse_single_images(settings, network)
    settings.finish.check(network)
    data = ImageDataModule(settings.data, data_config(network), settings.seed)
    logger = settings.logger.build(
        config=plain | {"provenance": asdict(provenance)},
        name=identity.name,
        folder=folder,
        group=identity.group,
        run_id=identity.run_id,
    )
    exit_code = 1
    try:
        with StopRequest() as stop:
            saver = Saver(folder, settings.checkpoint, settings.seed, state, network, stop, saved)
            callbacks = [
                progress,
                saver,
                *([StepStatistics(settings.trainer.log_every_n_steps)] if logger is not None else []),
            ]
            trainer = settings.trainer.build(folder=str(folder), callbacks=callbacks, logger=logger)
            first = trainer.is_global_zero
            if trainer.world_size > 1:
                seed_rank(settings.seed, trainer.global_rank)
            saver.attach(trainer)
            if first:
                if not resume:
                    saved_run.refuse_used(folder)
                identity.write(folder)
                provenance.write(folder)
                saved_config.write_config(folder, plain)
                for warning in (
                    *settings.remarks,
                    *cover.warnings(),
                    *recipe_warnings(settings, network),
                    *padding_warnings(network, data.config["input_size"]),
                ):  # quiet or not
                    console.print(f"warning: {warning}", soft_wrap=True, markup=False, highlight=False)
            with progress:
                progress.say(f"{settings.model.name}: {cover.sentence()}")
                if saved:
                    done = f"{len(state.records)} of {settings.rounds_in_all} rounds done"
                    progress.say(f"resumed after step {trainer.global_step}, with {done}")
                runner = LightningRunner(trainer, module, data, saver)
                stages = Stages(settings, plain, runner, saver, progress)
                stages.pretrain()
                reporter = RunReporter(folder, trainer.logger, console, settings.tolerance.unit) if first else None
                if reporter:
                    reporter.start(_scores(state.baseline), state.records, state.clusters)
                stages.rounds(reporter)
        if reporter:
            _finish(settings, plain, saver, reporter, cover, provenance, identity, console)
        exit_code = 0
    except TrainingDiverged as error:
        if made := files.files(folder):
            error.args = (f"{error} (the last good checkpoint is {made[-1]})",)
        raise
    except Stopped as stopped:
        exit_code = stopped.exit_code
        if stopped.preempted:
            run_logger(logger).mark_preempting()
        raise
    finally:
        settings.logger.close(logger, exit_code)
    return Finished(network, _scores(state.baseline), state.records, folder)


def build_network(settings: TrainSettings, *, load_weights: bool = True) -> nn.Module:
    """The Bayesian network of a run, with its starting weights (or random ones, where a checkpoint has better ones)."""
    data = settings.data
    if load_weights:
        warn_if_random(settings.model, settings.pretrain.epochs)
    network = build_bayesian(
        settings.model, num_classes=data.num_classes, in_chans=data.channels, load_weights=load_weights
    )
    if load_weights:
        warn_if_new_head(settings.model, network, settings.pretrain.epochs)
    return network


def _refuse_single_images(settings: TrainSettings, network: nn.Module) -> None:
    """BatchNorm has no statistics of one value, which is what a single image leaves of a pooled feature."""
    normalized = any(isinstance(module, _BatchNorm) for module in network.modules())
    if settings.data.batch_size == 1 and normalized:
        raise RunError("data.batch_size = 1: must be from 2, because this model normalizes over the batch (BatchNorm)")


def _finish(
    settings: TrainSettings,
    plain: Any,
    saver: Saver,
    reporter: RunReporter,
    cover: Coverage,
    provenance: Provenance,
    identity: Identity,
    console: Console,
) -> None:
    """The pictures, the artifact and the summary; then the checkpoints have served."""
    state, network, folder = saver.state, saver.network, saver.folder
    baseline = _scores(state.baseline)
    assert state.before is not None
    draw_rounds(state.records, baseline, folder / "rounds.png")
    spread = WeightHistogram.of(state.before, FlatWeights.of(quantized_tensors(network)).mu)
    draw_weights(spread, folder / "weights.png")
    write_text(folder / HISTOGRAM, json.dumps(spread.as_dict()) + "\n")
    write_text(folder / LAYERS, csv_text(LAYER_COLUMNS, layer_rows(network, state.before, cover.kinds)))
    receipt = write_for_run(folder, network, settings, plain, baseline, state.records[-1])
    facts = _facts(settings, cover, provenance, saver.seconds) | {"artifact": receipt.as_dict()}
    facts["identity"] = asdict(replace(identity, group=settings.logger.group_of(identity.group)))
    said = describe(folder / ARTIFACT)
    reporter.report_artifact(folder / ARTIFACT, {key: said[key] for key in ARTIFACT_FACTS})
    reporter.finish(state.records, baseline, facts)
    console.print(receipt.table())
    files.remove(folder)
    if settings.report:
        report_at_end(folder, partial(show, console))


def _scores(scores: Scores | None) -> Scores:
    assert scores is not None  # known from the end of the pretraining on
    return scores


def _facts(settings: TrainSettings, cover: Coverage, provenance: Provenance, seconds: float) -> dict[str, Any]:
    """What has to be known to repeat a run, and how much of the network its figures speak of."""
    return {
        "weights": cover.covered,
        "parameters": cover.total,
        "in_floating_point": {reason: size for reason, _, size in cover.left_out_by_reason()},
        "seed": settings.seed,
        "seconds": seconds,
        "processes": int(os.environ.get("WORLD_SIZE", settings.trainer.devices * settings.trainer.num_nodes)),
        **asdict(provenance),
    }
