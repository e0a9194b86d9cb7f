"""Save a run while it goes on, and resume it in another process.

A checkpoint inside an epoch is made right after an optimizer step. What comes next depends on the saved state alone:
which image comes when and how it is augmented are functions of seed and epoch, and noise comes from the random streams
of the ranks, which are saved. Lightning's own checkpoints are not used: they know neither rounds nor the random streams
of other ranks, and none can be made between two fits.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any, NoReturn

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.utilities import rank_zero_only
from torch import nn
from typing_extensions import override

from pwfn.bayesian.nonfinite import weights_not_finite
from pwfn.checkpoint import files
from pwfn.checkpoint.interruptible_tests import InterruptibleTests
from pwfn.checkpoint.run_state import RunState
from pwfn.checkpoint.spec import CheckpointSpec
from pwfn.checkpoint.trainer_progress import counters, place_trainer, share_among
from pwfn.randomness import random_state, seed_rank, set_random_state
from pwfn.records.files import CHECKPOINTS
from pwfn.training import distributed
from pwfn.training.loss_watch import LossWatch
from pwfn.training.phase import TrainingDiverged
from pwfn.training.signals import StopNow, StopRequest, stopped_by

FORMAT = 2
_SAVE = 1  # what ranks agree on after a step: 0 nothing, 1 save, anything above: save and stop for that signal


class Saver(InterruptibleTests):
    """Save the run at its steps and between its fits; the loop over the rounds keeps `state` up to date.

    Args:
        folder: of the run.
        spec: how often to save, and how many checkpoints to keep.
        seed: of the run; a resume with another number of ranks seeds them anew.
        state: how far the run is.
        network: the Bayesian network that is trained.
        stop: holds the signal that asks the run to stop.
        resumed: the content of a checkpoint whose network and state have been read; the rest is restored here.
        loss_watch: reads the losses of a step before it is saved; None: each was read at once.
    """

    def __init__(
        self,
        folder: Path,
        spec: CheckpointSpec,
        seed: int,
        state: RunState,
        network: nn.Module,
        stop: StopRequest,
        resumed: dict[str, Any] | None = None,
        loss_watch: LossWatch | None = None,
    ) -> None:
        super().__init__(stop)
        self.folder, self.spec, self.seed = folder, spec, seed
        self.state, self.network = state, network
        self._resumed = resumed
        self._loss_watch = loss_watch or LossWatch()
        self._trainer: Trainer | None = None
        self._started = self._saved = time.monotonic()
        self._seconds_before = state.seconds
        self._first_epoch = 0
        self._fit_started: float | None = None

    def attach(self, trainer: Trainer) -> None:
        """Take the trainer, and restore its counters and this rank's random streams from the checkpoint."""
        self._trainer = trainer
        if self._resumed is not None:
            if self._fit_done and self._resumed["ranks"] != trainer.world_size:
                share_among(trainer, self._fit_done, self._resumed["ranks"])
            place_trainer(trainer, self._resumed["trainer"], batches=self.batches_done)
            self._restore_random()

    @property
    def batches_done(self) -> int:
        """Return how many batches the next fit has to pass over in its first epoch."""
        return int(self._fit_done["batches"]) if self._fit_done else 0

    @property
    def seconds(self) -> float:
        """Return the wall time of the run, the time before a resume included."""
        return self._seconds_before + time.monotonic() - self._started

    def begin_fit(self) -> int:
        """Return the trainer's epoch in which the next fit begins, or had begun before a resume."""
        assert self._trainer is not None
        self._first_epoch = self._fit_done["first_epoch"] if self._fit_done else self._trainer.current_epoch
        return self._first_epoch

    def end_fit(self) -> None:
        """Forget what the checkpoint says of a fit, also where nothing was left to do in it."""
        self._fit_started = None
        if self._resumed is not None:
            self._resumed["fit"] = None

    def between_fits(self, *, always: bool = False) -> None:
        """Save, `always` or where the run is asked to stop; raise Stopped where it is."""
        asked = distributed.all_reduce_max(self.stop.signal)
        if asked or always:
            self.save()
        if asked:
            raise stopped_by(asked)

    def save_and_stop(self, asked: StopNow) -> NoReturn:
        """Save what was put back after `asked`, and raise Stopped."""
        self.save()
        raise stopped_by(asked.number) from None

    @override
    def save_epoch(self) -> None:
        self.save(0, epoch_is_done=True)

    def save(self, batches: int | None = None, *, epoch_is_done: bool = False) -> None:
        """Write a checkpoint: between two fits, or with `batches` of the present epoch done.

        With `epoch_is_done` the present epoch counts as finished, for which Lightning waits for its validation.

        Raises:
            TrainingDiverged: on every rank, where a tensor of any rank is not finite.
            CheckpointError: where the file cannot be written.
        """
        trainer = self._trainer
        assert trainer is not None
        self._loss_watch.check()
        of_ranks = distributed.all_gather_object((weights_not_finite(self.network), random_state()))
        self._refuse_not_finite([name for name, _ in of_ranks], trainer.global_step)
        if trainer.is_global_zero:
            self.state.seconds = self.seconds
            state = self.state.as_dict()
            if self._fit_started is not None:
                state["place"]["train_seconds"] += time.monotonic() - self._fit_started
            content = {
                "format": FORMAT,
                "state": state,
                "network": self.network.state_dict(),
                "ranks": trainer.world_size,
                "random": [state for _, state in of_ranks],
                "trainer": counters(trainer, one_more=epoch_is_done),
                "fit": None if batches is None else self._fit(trainer, batches),
            }
            files.write(self.folder, content, self.spec.keep)
        self._saved = time.monotonic()

    @staticmethod
    def _refuse_not_finite(names: list[str | None], step: int) -> None:
        """End the run on all ranks if a tensor of any is not finite, so that a good checkpoint stays."""
        for rank, name in enumerate(names):
            if name:
                where = f" on rank {rank}" if len(names) > 1 else ""
                error = TrainingDiverged(f"{name} is not finite{where} after step {step}: try a smaller optimizer.lr")
                error.on_all_ranks = True
                raise error

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.stop.install()
        resumed_within = False
        if self._resumed is not None:
            if fit := self._fit_done:
                resumed_within = True
                trainer.optimizers[0].load_state_dict(fit["optimizer"])
                trainer.lr_scheduler_configs[0].scheduler.load_state_dict(fit["scheduler"])
                trainer.precision_plugin.load_state_dict(fit["precision"])
            self._restore_random()  # once more, in case that setting up the fit has drawn
            self._resumed = None
        # Lightning's handlers, in place until now, pass a signal on but would end the run in its first step
        if asked := distributed.all_reduce_max(self.stop.signal):
            if not resumed_within:  # else the checkpoint that was resumed has everything
                self.save()
            raise stopped_by(asked)
        self._fit_started = time.monotonic()

    @override
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        done = batch_idx + 1
        # inside an accumulation the gradients would have to be saved; an epoch ends with its validation
        if done % trainer.accumulate_grad_batches == 0 and done != trainer.num_training_batches:
            self._after_step(trainer, done)

    @override
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._after_step(trainer, 0)

    def _after_step(self, trainer: Trainer, batches: int) -> None:
        every = self.spec.every_steps
        due = every is not None and trainer.global_step % every == 0
        if self.spec.every_minutes is not None and trainer.is_global_zero:  # other ranks have clocks of their own
            due |= time.monotonic() - self._saved >= 60 * self.spec.every_minutes
        agreed = distributed.all_reduce_max(self.stop.signal or (_SAVE if due else 0))
        if agreed:
            self.save(batches)
        if agreed > _SAVE:
            raise stopped_by(agreed)

    def _fit(self, trainer: Trainer, batches: int) -> dict[str, Any]:
        return {
            "batches": batches,
            "first_epoch": self._first_epoch,
            "optimizer": trainer.optimizers[0].state_dict(),
            "scheduler": trainer.lr_scheduler_configs[0].scheduler.state_dict(),
            "precision": trainer.precision_plugin.state_dict(),
        }

    @property
    def resumes_a_fit(self) -> bool:
        """Tell whether the next fit was begun before the run was interrupted."""
        return self._fit_done is not None

    @property
    def _fit_done(self) -> dict[str, Any] | None:
        """Return what the checkpoint says of the fit it was made in, None if it was made between two."""
        fit: dict[str, Any] | None = self._resumed["fit"] if self._resumed is not None else None
        return fit

    def _restore_random(self) -> None:
        assert self._resumed is not None
        assert self._trainer is not None
        streams, rank = self._resumed["random"], self._trainer.global_rank
        if len(streams) == self._trainer.world_size:
            set_random_state(streams[rank])
        else:
            seed_rank(self.seed, rank, self._trainer.global_step)


def read_checkpoint(folder: Path) -> dict[str, Any] | None:
    """Read the newest checkpoint in `folder`, None before the first; CheckpointError: none can be used."""
    content = files.newest(folder, warn=_print_on_rank_0)
    if content is not None and content.get("format") != FORMAT:
        raise files.CheckpointError(
            f"{folder / CHECKPOINTS} was written by another version of this program (format "
            f"{content.get('format')}, here {FORMAT}): resume with that version"
        )
    return content


def _print_on_rank_0(line: str) -> None:
    if getattr(rank_zero_only, "rank", 0) == 0:
        print(f"pwfn: {line}", file=sys.stderr, flush=True)
