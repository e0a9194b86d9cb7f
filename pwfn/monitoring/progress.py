"""Show a run while it goes on: a live view in a terminal, one line an epoch elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.utilities import rank_zero_only
from rich.console import Console
from typing_extensions import override

from pwfn.monitoring.eta import TimeLeft, clock
from pwfn.monitoring.live_view import LiveView
from pwfn.records.rounds import RoundRecord, Scores

_LOSS_EVERY = 0.25  # seconds; reading a loss waits for the GPU, so not at every batch
_SILENCE = 60.0  # seconds after which a log is told what goes on


def _loss_of(outputs: Any) -> torch.Tensor | None:
    """Return the loss of the data alone where the module has it: that is the one people can read."""
    loss = outputs.get("cross_entropy", outputs.get("loss")) if isinstance(outputs, Mapping) else outputs
    return loss.detach() if isinstance(loss, torch.Tensor) and loss.numel() == 1 else None


class RunProgress(Callback):
    """Show the run and its phase; a context manager around the run. Only rank 0 shows anything.

    One trainer fits many times and its `current_epoch` counts on, so epochs are counted here, from each `start_phase`.

    Args:
        console: to print to; None: stdout.
        quiet: whether to show nothing.
    """

    def __init__(self, console: Console | None = None, *, quiet: bool = False) -> None:
        super().__init__()
        self.console = console if console is not None else Console()
        self.quiet = quiet
        self._live: LiveView | None = None
        self._said = time.monotonic()
        self.start_run([])
        self.start_phase("training", 1)

    @property
    def active(self) -> bool:
        """Tell whether this process shows anything."""
        return not self.quiet and getattr(rank_zero_only, "rank", 0) == 0

    def __enter__(self) -> RunProgress:
        if self.active and self.console.is_terminal:
            self._live = LiveView(self.console)
            self._live.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.__exit__()
            self._live = None

    def start_run(self, work: Sequence[float], rounds_done: int = 0) -> None:
        """Begin the clock of the whole run.

        Args:
            work: epochs that each round trains; half of the images are half an epoch.
            rounds_done: how many rounds were done before the run was resumed.
        """
        self._left = TimeLeft(work, rounds_done)
        if self._live is not None:
            self._live.start_run()
        self._show_run()

    def start_phase(self, label: str, epochs: int, share: float | None = None) -> None:
        """Announce the next fit.

        Args:
            label: its name, "round 3/10".
            epochs: how many it has.
            share: of the images that each epoch sees; None for a fit that belongs to no round.
        """
        self._label, self._epochs, self._epoch, self._share = label, epochs, 0, share
        self._skipped = 0  # epochs from before a resume
        if share is not None:
            self._left.begin(time.monotonic())
        self._epoch_running = False
        self._batches: int | None = None
        self._loss_read = time.monotonic()
        self._loss_sum: torch.Tensor | None = None
        self._losses = 0
        self._show(label)

    def status(self, text: str) -> None:
        """Show what goes on between fits ("testing"); without a live view after a minute of silence."""
        if self._live is None and time.monotonic() - self._said >= _SILENCE:
            self.say(text)
        self._show(text)
        self._show_run()

    def results(self, baseline: Scores, records: Sequence[RoundRecord]) -> None:
        """Show the results of the rounds so far, only in a terminal."""
        if self._live is not None:
            self._live.results(baseline, records)

    def finish_round(self, line: str) -> None:
        """Count a round as done and leave `line` above the view; in a log, with the time that is left."""
        self._left.end_round(time.monotonic())
        left = self._left.seconds() if self._live is None else None
        goes_on = left is not None and self._left.rounds_done < self._left.rounds
        self.say(f"{line}, about {clock(left or 0)} left" if goes_on else line)
        self._show_run()

    def say(self, line: str) -> None:
        """Print a line that stays."""
        self._said = time.monotonic()
        if self.active:
            self.console.print(line, soft_wrap=True, markup=False, highlight=False)

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # a resumed fit goes on in the middle: count the epochs that it has behind it
        self._epoch = self._skipped = max(0, self._epochs - (int(trainer.max_epochs or 0) - trainer.current_epoch))
        self._left.skipped(self._epoch * (self._share or 0.0))

    @override
    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if not self._epoch_running:  # Lightning does not announce an epoch that it resumes within
            self._start_epoch(trainer, batch_idx)

    @override
    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._start_epoch(trainer, 0)

    def _start_epoch(self, trainer: Trainer, batches_done: int) -> None:
        self._epoch_running = True
        self._epoch += 1
        self._epoch_started = self._loss_read = time.monotonic()
        self._loss_sum, self._losses = None, 0
        batches = trainer.num_training_batches
        self._batches = int(batches) if batches != float("inf") else None
        first = self._epoch == self._skipped + 1
        if first and self._batches is not None:  # the time the trainer needs to set itself up is no measure for these
            epochs = max(self._epochs, self._epoch)
            self._show(self._label, self._batches * epochs, self._batches * self._skipped + batches_done)
        self._show_batches(batches_done, "")

    @override
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        loss = _loss_of(outputs)
        if not self.active or loss is None:
            return
        # A running sum, left on the device: nothing has to wait for it.
        self._loss_sum = loss if self._loss_sum is None else self._loss_sum + loss
        self._losses += 1
        if self._live is not None and time.monotonic() - self._loss_read >= _LOSS_EVERY:
            self._loss_read = time.monotonic()
            self._show_batches(batch_idx + 1, f"loss {loss.item():.3f}")
            self._show_run((batch_idx + 1) / self._batches if self._batches else 0.0)

    @override
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._epoch_running = False
        if self._share is not None:
            self._left.trained(self._share, time.monotonic() - self._epoch_started)
        mean = f" loss {self._loss_sum.item() / self._losses:.3f}" if self._loss_sum is not None else ""
        if self._live is None:
            seconds = time.monotonic() - self._epoch_started
            self.say(f"{self._label} epoch {self._epoch}/{self._epochs}{mean} {seconds:.1f} s")
        else:
            self._show_batches(self._batches or 0, mean.strip())

    def _show(self, description: str, total: int | None = None, done: int = 0) -> None:
        if self._live is not None:
            self._live.start_phase(description, total, done)

    def _show_batches(self, done: int, loss: str) -> None:
        """Show that `done` batches of the present epoch are done."""
        if self._live is None:
            return
        batches = self._batches or 0
        figures = [f"{done}/{batches} batches"] if batches else []
        figures += [loss] if loss else []
        description = f"{self._label} epoch {self._epoch}/{self._epochs}"
        self._live.phase(description, batches * (self._epoch - 1) + done if batches else 0, figures)

    def _show_run(self, of_epoch: float = 0.0) -> None:
        """Show the whole run, with the share `of_epoch` of the present epoch done."""
        if self._live is None:
            return
        trained = of_epoch * (self._share or 0.0)
        seconds = time.monotonic() - self._epoch_started if trained else 0.0
        self._live.run(self._left.rounds_done, self._left.rounds, self._left.seconds(trained, seconds))
