"""One run from its configuration to its final table."""

from __future__ import annotations

import logging
import os
import shlex
import sys
import time
import warnings
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from pwfn import checkpoint
from pwfn.artifact.of_run import recipe_warnings, write_for_run
from pwfn.coverage import Coverage, coverage
from pwfn.data.module import ImageDataModule
from pwfn.faults import RunError
from pwfn.model import build_bayesian, data_config, warn_if_new_head, warn_if_random
from pwfn.module import BayesianClassifier, Phase
from pwfn.network import FlatWeights
from pwfn.pictures import draw_rounds, draw_weights
from pwfn.posterior import quantised_tensors, set_sigma
from pwfn.progress import RunProgress
from pwfn.record import RoundRecord, Scores
from pwfn.reporting import RunReporter
from pwfn.rounds import LightningRunner, RoundLoop
from pwfn.seeding import seed_rank, seed_run
from pwfn.settings import TrainSettings

PACKAGES = ("pwfn", "torch", "timm", "pytorch-lightning", "hydra-core", "wandb")


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
    )
    for message in (".*LeafSpec.*", *known):
        warnings.filterwarnings("ignore", message)


def run(settings: TrainSettings, plain: Any, folder: Path, *, name: str, group: str | None = None) -> Finished:
    """Build everything, train, and leave the folder complete. `plain` is the resolved config that is saved with it."""
    started = time.perf_counter()
    _quiet_lightning()
    settings.data.check()
    seed_run(settings.seed)
    console = Console(stderr=False)
    network = build_network(settings)
    progress = RunProgress(console, quiet=settings.quiet)
    cover = coverage(network)
    module = BayesianClassifier(
        network,
        settings.regularizer,
        label_smoothing=settings.label_smoothing,
        compiled=settings.compile,
    )
    _refuse_single_images(settings, network)
    data = ImageDataModule(settings.data, data_config(network), settings.seed)
    logger = settings.logger.build(config=plain, name=name, folder=folder, group=group)
    exit_code = 1
    try:
        trainer = settings.trainer.build(folder=str(folder), callbacks=[progress], logger=logger)
        first = trainer.is_global_zero
        if trainer.world_size > 1:
            seed_rank(settings.seed, trainer.global_rank)
        if first:
            checkpoint.refuse_used(folder)
            checkpoint.write_config(folder, plain)
            for warning in (*cover.warnings(), *recipe_warnings(settings, network)):  # quiet or not
                console.print(f"warning: {warning}", soft_wrap=True, markup=False, highlight=False)
        with progress:
            progress.say(f"{settings.model.name}: {cover.sentence()}")
            runner = LightningRunner(trainer, module, data)
            baseline = _pretrain(settings, runner, network, progress)
            reporter = RunReporter(folder, trainer.logger, console) if first else None
            if reporter:
                reporter.start(baseline)
                checkpoint.save_pretrained(folder, network)
                before = FlatWeights.of(quantised_tensors(network)).mu.cpu()
            records = _rounds(settings, plain, baseline, runner, network, progress, reporter, folder)
        if reporter:
            after = FlatWeights.of(quantised_tensors(network)).mu.cpu()
            draw_rounds(records, baseline, folder / "rounds.png")
            draw_weights(before, after, folder / "weights.png")
            receipt = write_for_run(folder, network, settings, plain, baseline, records[-1])
            facts = _facts(settings, cover, started) | {"artifact": receipt.as_dict()}
            reporter.finish(records, baseline, facts)
            console.print(receipt.table())
        exit_code = 0
    finally:
        settings.logger.close(logger, exit_code)
    return Finished(network, baseline, records, folder)


def build_network(settings: TrainSettings) -> nn.Module:
    """The Bayesian network of a run, with its starting weights."""
    warn_if_random(settings.model, settings.pretrain.epochs)
    data = settings.data
    network = build_bayesian(settings.model, num_classes=data.num_classes, in_chans=data.channels)
    warn_if_new_head(settings.model, network, settings.pretrain.epochs)
    return network


def _refuse_single_images(settings: TrainSettings, network: nn.Module) -> None:
    """BatchNorm has no statistics of one value, which is what a single image leaves of a pooled feature."""
    normalised = any(isinstance(module, _BatchNorm) for module in network.modules())
    if settings.data.batch_size == 1 and normalised:
        raise RunError("data.batch_size = 1: must be from 2, because this model normalises over the batch (BatchNorm)")


def _pretrain(settings: TrainSettings, runner: LightningRunner, network: nn.Module, progress: RunProgress) -> Scores:
    """The ordinary training, if any; then the scores everything is compared with, and the starting sigmas."""
    pretrain = settings.pretrain
    progress.start_run(settings.schedule.rounds)
    progress.start_phase("pretraining", pretrain.epochs)
    runner.fit(Phase("pretraining", pretrain.epochs, pretrain.optimizer, noise=False, train_sigma=False))
    progress.status("testing")
    baseline = runner.test()
    progress.say(f"before compression: top1 {baseline.top1:.2f} %, loss {baseline.loss:.4f}")
    set_sigma(network, settings.prior)
    return baseline


def _rounds(
    settings: TrainSettings,
    plain: Any,
    baseline: Scores,
    runner: LightningRunner,
    network: nn.Module,
    progress: RunProgress,
    reporter: RunReporter | None,
    folder: Path,
) -> list[RoundRecord]:
    def keep_trained(index: int) -> None:
        if reporter and index == settings.schedule.rounds - 1:
            checkpoint.save(folder, network, index, checkpoint.TRAINED)

    loop = RoundLoop(
        runner,
        network,
        settings.schedule,
        settings.clustering,
        settings.codebook,
        settings.sigma_join,
        settings.optimizer,
        on_phase=lambda phase: progress.start_phase(phase.label, phase.epochs),
        on_status=progress.status,
        on_trained=keep_trained,
    )
    records = []
    for outcome in loop.rounds():
        records.append(outcome.record)
        if reporter:
            checkpoint.save(folder, network, outcome.record.round)
            if settings.artifact.every_round and outcome.record.fraction < 1:
                file = f"round_{outcome.record.round + 1}.pwfn"
                write_for_run(folder, network, settings, plain, baseline, outcome.record, file=file, last=False)
            progress.finish_round(reporter.add(outcome.record, outcome.clusters))
    return records


def _facts(settings: TrainSettings, cover: Coverage, started: float) -> dict[str, Any]:
    """What has to be known to repeat a run, and how much of the network its figures speak of."""
    return {
        "weights": cover.covered,
        "parameters": cover.total,
        "in_floating_point": {reason: size for reason, _, size in cover.left_out_by_reason()},
        "seed": settings.seed,
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "seconds": time.perf_counter() - started,
        "threads": torch.get_num_threads(),
        "processes": int(os.environ.get("WORLD_SIZE", settings.trainer.devices * settings.trainer.num_nodes)),
        "versions": {package: version(package) for package in PACKAGES},
    }
