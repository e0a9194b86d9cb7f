"""Run training from typed settings to the final table: assemble, announce, execute, finish."""

from __future__ import annotations

import errno
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from pwfn.bayesian.posterior import quantized_tensors
from pwfn.checkpoint import files, saved_config
from pwfn.clustering.second_order import SecondOrder
from pwfn.config import program
from pwfn.data.loading.loader_faults import loader_fault, release
from pwfn.errors import RunError, Stopped
from pwfn.models.padding import padding_warnings
from pwfn.monitoring.loggers.spec import run_logger
from pwfn.monitoring.run_reporter import RunReporter
from pwfn.records.files import CONFIG, NotWritten
from pwfn.records.rounds import RoundRecord, Scores
from pwfn.run.assemble import Assembly, assemble, connect_trainer
from pwfn.run.ending.final_files import finish
from pwfn.run.ending.write_artifact import recipe_warnings
from pwfn.run.images import keep_choices
from pwfn.run.one_writer import folder_of_run
from pwfn.run.settings import TrainSettings
from pwfn.run.stages import Stages
from pwfn.training.phase import TrainingDiverged
from pwfn.training.signals import StopNow, StopRequest, unsaved_by

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # a full disk, a full quota, a limit of the shell
READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)


@dataclass(frozen=True)
class Finished:
    """Hold what a finished run leaves in memory; everything else is in its folder."""

    network: nn.Module
    baseline: Scores
    records: list[RoundRecord]
    folder: Path


def run(
    settings: TrainSettings, config: Any, folder: Path, *, name: str, group: str | None = None, resume: bool = False
) -> Finished:
    """Train and compress the network of `settings`, and leave the folder complete.

    Args:
        settings: the typed settings.
        config: the resolved configuration that they were built from; it is saved in the folder.
        folder: where everything is written; without `resume` it holds no run yet.
        name: the name of a new run; a resumed one keeps its own.
        group: the sweep that a new run belongs to.
        resume: go on from the newest checkpoint in `folder`.

    Returns:
        The network, its scores before the rounds, and a record for each round.

    Raises:
        RunError: the run cannot begin or go on; the message is one line.
        Stopped: Ctrl-C, a signal or a costly round ended the run.
    """
    with folder_of_run(settings, folder):
        assembly = assemble(settings, config, folder, name=name, group=group, resume=resume)
        with _logged_to_the_end(assembly):
            with StopRequest() as stop:
                stages = connect_trainer(assembly, stop)
                announce(assembly, stages)
                reporter = execute(assembly, stages)
            if reporter:
                finish(assembly, stages, reporter)
    return Finished(assembly.network, stages.baseline, assembly.state.records, folder)


def announce(assembly: Assembly, stages: Stages) -> None:
    """Write identity, provenance and configuration, and print what to know before a long run."""
    settings, folder, console = assembly.settings, assembly.folder, assembly.console
    trainer, progress = stages.runner.trainer, assembly.progress
    stages.stored_form.check()
    if assembly.checkpoint is None:
        settings.sigma.check(quantized_tensors(assembly.network))
    if trainer.is_global_zero:
        assembly.identity.write(folder)
        assembly.provenance.write(folder)
        saved_config.write_config(folder, assembly.config)
        keep_choices(assembly.data, folder)
        progress.say(assembly.data.sentence())
        for warning in (
            *settings.remarks,
            *settings.logger.remarks_on(assembly.identity.name, assembly.identity.run_id),
            *assembly.coverage.warnings(),
            *recipe_warnings(settings, assembly.network),
            *padding_warnings(assembly.network, assembly.data.config["input_size"]),
            *settings.data.remarks(),
        ):  # quiet or not
            console.print(f"warning: {warning}", soft_wrap=True, markup=False, highlight=False)
    for remark in assembly.remarks:
        progress.say(remark)
    progress.say(f"{settings.model.name}: {assembly.coverage.sentence()}")
    if assembly.checkpoint is not None:
        done = f"{len(assembly.state.records)} of {settings.rounds_in_all} rounds done"
        progress.say(f"resumed after step {trainer.global_step}, with {done}")


def execute(assembly: Assembly, stages: Stages) -> RunReporter | None:
    """Pretrain, train and cluster round by round; return the reporter of rank 0, None on every other rank."""
    trainer, state = stages.runner.trainer, assembly.state
    reporter = None
    try:
        with assembly.progress:
            stages.pretrain()
            if trainer.is_global_zero:
                settings = assembly.settings
                unit = None if isinstance(settings.clustering, SecondOrder) else settings.tolerance.label
                reporter = RunReporter(assembly.folder, trainer.logger, assembly.console, unit)
                reporter.start(stages.baseline, state.records, state.clusters)
            stages.rounds(reporter)
    except StopNow as asked:
        stages.saver.save_and_stop(asked)
    except (OSError, RuntimeError) as error:
        number = stages.saver.stop.signal
        if number and loader_fault(error):  # a scheduler has ended the loader's processes together with the run
            raise unsaved_by(number) from None
        raise
    return reporter


@contextmanager
def _logged_to_the_end(assembly: Assembly) -> Iterator[None]:
    """Close the logger however the block ends, and say in one line what a user can do about it."""
    exit_code = 1
    try:
        yield
        exit_code = 0
    except TrainingDiverged as error:
        if made := files.files(assembly.folder):
            error.args = (f"{error} (the last good checkpoint is {made[-1]})",)
        raise
    except Stopped as stopped:
        exit_code = stopped.exit_code
        if stopped.preempted:
            run_logger(assembly.logger).mark_preempting()
        raise
    except (OSError, RuntimeError) as error:
        reason = _mendable(assembly.folder, error)
        if reason is None:
            raise
        raise RunError(reason) from error
    finally:
        assembly.settings.logger.close(assembly.logger, exit_code)


def _mendable(folder: Path, error: OSError | RuntimeError) -> str | None:
    """Say in one line what of the system has ended the run and how to go on; None for any other error."""
    if isinstance(error, NotWritten) or (isinstance(error, OSError) and error.errno in (*NO_ROOM, errno.EROFS)):
        first = "make it writable" if error.errno in READ_ONLY else "make room there"
        return f"{folder} cannot be written to ({error.strerror}): {first}{_then_go_on(folder, ', then')}"
    if isinstance(error, RunError) or (fault := loader_fault(error)) is None:
        return None
    release(error)
    return f"{fault}{_then_go_on(folder, '; then')}"


def _then_go_on(folder: Path, then: str) -> str:
    if not (folder / CONFIG).is_file():
        return ""
    return f"{then} go on with: {' '.join(program.typed('train'))} resume={shlex.quote(str(folder))}"
