"""Build what a run consists of, anew or from its newest checkpoint."""

from __future__ import annotations

import logging
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from pwfn.bayesian.coverage import Coverage, coverage
from pwfn.bayesian.kernels import choose_kernels
from pwfn.checkpoint import saved_run
from pwfn.checkpoint.callback import Saver, read_checkpoint
from pwfn.checkpoint.identity import Identity
from pwfn.checkpoint.run_state import RunState
from pwfn.data.module import ImageDataModule
from pwfn.errors import RunError
from pwfn.models.input_size import size_fault
from pwfn.models.loading import heads_of
from pwfn.models.random_weights import new_head, refuse_untrained_head
from pwfn.models.timm_model import build_bayesian, data_config
from pwfn.models.weight_files import ModelError
from pwfn.monitoring.progress import RunProgress
from pwfn.randomness import seed_rank, seed_run
from pwfn.records.provenance import Provenance
from pwfn.run.images import settle_images
from pwfn.run.lightning_runner import LightningRunner
from pwfn.run.settings import TrainSettings
from pwfn.run.stages import Stages
from pwfn.training.loss_watch import LossWatch
from pwfn.training.module import BayesianClassifier
from pwfn.training.signals import StopRequest
from pwfn.training.step_statistics import StepStatistics

if TYPE_CHECKING:
    from pytorch_lightning.loggers import Logger

QUIETED = (  # Lightning says these at every fit; a run fits dozens of times and shows its own progress
    ".*LeafSpec.*",
    "The number of training batches.*",
    "Total length of .* across ranks is zero.*",
    "Your `IterableDataset` has .*",
    "You're resuming from a checkpoint that ended before the epoch ended.*",  # the samplers know where to go on
    "Corrupt EXIF data.*",  # Pillow, at hundreds of ImageNet's images in every worker; the pixels are sound
)


@dataclass(frozen=True)
class Assembly:
    """Hold what a run consists of before it has a trainer.

    Attributes:
        config: the resolved configuration that `settings` were built from; it is saved and logged.
        checkpoint: what is left to restore of the checkpoint that the run resumes from, None for a new run.
        remarks: a line for each thing that there is to know about the starting weights.
        state: where the run is and what it has found out so far.
        logger: None where only the files of the folder are wanted.
    """

    settings: TrainSettings
    config: dict[str, Any]
    folder: Path
    resumed: bool
    console: Console
    progress: RunProgress
    provenance: Provenance
    identity: Identity
    checkpoint: dict[str, Any] | None
    state: RunState
    network: nn.Module
    remarks: list[str]
    coverage: Coverage
    data: ImageDataModule
    logger: Logger | None


def assemble(
    settings: TrainSettings, config: dict[str, Any], folder: Path, *, name: str, group: str | None, resume: bool
) -> Assembly:
    """Build the network, its data and its logger, and read the checkpoint of a run that resumes.

    The arguments are those of `pwfn.run.start.run`. Raises RunError where the folder is in use, or data, model or
    checkpoint cannot be used.
    """
    _quiet_lightning()
    console = Console(stderr=False)
    settings = _checked_inputs(settings, folder, console, resume=resume)
    seed_run(settings.seed)
    choose_kernels(settings.kernels)
    # now, because the checkout may be another by the end
    provenance = Provenance.of_run(folder) if resume else Provenance.of_this_program()
    checkpoint = read_checkpoint(folder) if resume else None
    network, remarks = build_network(settings, load_weights=checkpoint is None)
    if checkpoint:
        network.load_state_dict(checkpoint.pop("network"))
    _refuse_single_images(settings, network)
    settings.finish.check(network)
    identity = Identity.of(folder) if resume else Identity.new(name, group, settings.logger.new_run_id(group))
    return Assembly(
        settings,
        config,
        folder,
        resumed=resume,
        console=console,
        progress=RunProgress(console, quiet=settings.quiet),
        provenance=provenance,
        identity=identity,
        checkpoint=checkpoint,
        state=RunState.from_dict(checkpoint["state"]) if checkpoint else RunState(),
        network=network,
        remarks=remarks,
        coverage=coverage(network),
        data=ImageDataModule(settings.data, data_config(network), settings.seed),
        logger=_logger(settings, config, folder, identity, provenance),
    )


def _checked_inputs(settings: TrainSettings, folder: Path, console: Console, *, resume: bool) -> TrainSettings:
    """Refuse what is known to be wrong before weights are downloaded; return settings with settled images."""
    if not resume:
        saved_run.refuse_used(folder)
    settings.data.check_layout()
    if not resume and (fault := size_fault(settings.model, settings.data)):
        raise ModelError(fault)
    return settle_images(settings, folder, console, resume=resume)


def build_network(settings: TrainSettings, *, load_weights: bool = True) -> tuple[nn.Module, list[str]]:
    """Build the Bayesian network of a run, with its starting weights or for a checkpoint to fill.

    Returns:
        The network, and a line for each thing that there is to know about its weights.

    Raises:
        ModelError: it cannot be built, its weights do not fit, or nothing would train its new classifier.
    """
    data, model, trained = settings.data, settings.model, settings.pretrain.trains
    remarks: list[str] = []
    network = build_bayesian(
        model, num_classes=data.num_classes, in_chans=data.channels, load_weights=load_weights, say=remarks.append
    )
    if settings.pretrain.head_epochs and not heads_of(network):
        raise ModelError(f"pretrain.head_epochs = {settings.pretrain.head_epochs}: {model.name} has no classifier")
    if load_weights:
        refuse_untrained_head(model, network, trained=trained)
        if head := new_head(model, network):
            remarks.append(head)
    return network, remarks


def connect_trainer(assembly: Assembly, stop: StopRequest) -> Stages:
    """Build the trainer of a run and restore its counters and random streams.

    `stop` is asked after every step whether a signal wants the run to end.

    Returns:
        The stages that the run will go through.
    """
    settings, network = assembly.settings, assembly.network
    watch = LossWatch(1 if settings.detect == "immediate" else settings.trainer.log_every_n_steps)
    saver = Saver(
        assembly.folder, settings.checkpoint, settings.seed, assembly.state, network, stop, assembly.checkpoint, watch
    )
    statistics = [StepStatistics(settings.trainer.log_every_n_steps)] if assembly.logger is not None else []
    callbacks = [assembly.progress, saver, *statistics]
    trainer = settings.trainer.build(folder=str(assembly.folder), callbacks=callbacks, logger=assembly.logger)
    if trainer.world_size > 1:
        seed_rank(settings.seed, trainer.global_rank)
    saver.attach(trainer)
    module = BayesianClassifier(
        network,
        settings.regularizer,
        label_smoothing=settings.label_smoothing,
        compile_mode=settings.compile_mode if settings.compile else None,
        distillation=settings.distillation,
        loss_watch=watch,
        channels_last=settings.trainer.channels_last,
    )
    runner = LightningRunner(trainer, module, assembly.data, saver)
    return Stages(settings, assembly.config, runner, saver, assembly.progress)


def _quiet_lightning() -> None:
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    for message in QUIETED:
        warnings.filterwarnings("ignore", message)


def _refuse_single_images(settings: TrainSettings, network: nn.Module) -> None:
    # a single image leaves one value of a pooled feature, which has no variance
    normalized = any(isinstance(module, _BatchNorm) for module in network.modules())
    if settings.data.batch_size == 1 and normalized:
        raise RunError("data.batch_size = 1: must be from 2, because this model normalizes over the batch (BatchNorm)")


def _logger(
    settings: TrainSettings, config: dict[str, Any], folder: Path, identity: Identity, provenance: Provenance
) -> Logger | None:
    return settings.logger.build(
        config=config | {"provenance": asdict(provenance)},
        name=identity.name,
        folder=folder,
        group=identity.group,
        run_id=identity.run_id,
    )
