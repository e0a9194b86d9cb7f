"""What Lightning's trainer counts over all fits of a run, and how to put a new trainer where another one was."""

from __future__ import annotations

from pytorch_lightning import Trainer


def counters(trainer: Trainer) -> dict[str, int]:
    """Epochs finished, optimizer steps and batches, since the beginning of the run."""
    loop = trainer.fit_loop
    return {
        "epochs": loop.epoch_progress.current.processed,  # type: ignore[attr-defined]
        "steps": trainer.global_step,
        "batches": loop.epoch_loop.batch_progress.total.ready,
    }


def place_trainer(trainer: Trainer, counted: dict[str, int], *, batches: int) -> None:
    """Have `trainer` go on as if it had counted that itself; `batches` of the epoch after those are done.

    With none done, the next fit begins an epoch as always. Else Lightning takes it for one restarted within an epoch: it
    goes on behind its `batches`th batch and does not call on_train_epoch_start.
    """
    fit, loop = trainer.fit_loop, trainer.fit_loop.epoch_loop
    epochs, within = counted["epochs"], int(batches > 0)
    for tracker in (fit.epoch_progress.total, fit.epoch_progress.current):
        tracker.ready = tracker.started = epochs + within  # type: ignore[attr-defined]
        tracker.processed = tracker.completed = epochs  # type: ignore[attr-defined]
    for tracker, count in ((loop.batch_progress.total, counted["batches"]), (loop.batch_progress.current, batches)):
        tracker.reset()
        tracker.increment_by(count)
    loop.batch_progress.is_last_batch = False
    step = loop.automatic_optimization.optim_progress.optimizer.step.total
    step.reset()
    step.increment_by(counted["steps"])
    loop._batches_that_stepped = counted["steps"]  # the steps that loggers are told
    fit.restarting = bool(within)
