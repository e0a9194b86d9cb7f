"""Count what Lightning's trainer has done over all fits, and have a new trainer go on from there.

The counts are ours, not the whole of what Lightning saves, so that a checkpoint can be read by another version of
Lightning and by another number of ranks.
"""

from __future__ import annotations

from typing import Any

from pytorch_lightning import Trainer


def counters(trainer: Trainer, *, one_more: bool = False) -> dict[str, int]:
    """Count finished epochs, with the present one or without, optimizer steps and batches of the run."""
    state = trainer.fit_loop.state_dict()
    return {
        "epochs": state["epoch_progress"]["current"]["processed"] + one_more,
        "steps": trainer.global_step,
        "batches": state["epoch_loop.batch_progress"]["total"]["ready"],
    }


def place_trainer(trainer: Trainer, counted: dict[str, int], *, batches: int) -> None:
    """Have `trainer` go on as if it had counted that itself.

    Lightning takes an epoch with `batches` behind it for one that it was restarted in: it goes on after that batch and
    does not call on_train_epoch_start. Without any, the next fit begins its first epoch as always.

    Args:
        trainer: a new one, which has not run yet.
        counted: what `counters` gave.
        batches: how many batches are done of the epoch after the finished ones; from 0.
    """
    loop, epochs, steps = trainer.fit_loop, counted["epochs"], counted["steps"]
    state = loop.state_dict()
    begun = epochs + (batches > 0)
    for tracker in state["epoch_progress"].values():
        tracker.update(ready=begun, started=begun, processed=epochs, completed=epochs)
    for name, count in (("total", counted["batches"]), ("current", batches)):
        tracker = state["epoch_loop.batch_progress"][name]
        tracker.update(dict.fromkeys(tracker, count))
    taken = state["epoch_loop.automatic_optimization.optim_progress"]["optimizer"]["step"]["total"]
    taken.update(dict.fromkeys(taken, steps))
    state["epoch_loop.state_dict"]["_batches_that_stepped"] = steps  # the step that loggers are told
    loop.load_state_dict(state)
    if not batches:
        loop.on_iteration_done()  # no epoch was broken off: the next fit restarts nothing


def share_among(trainer: Trainer, fit: dict[str, Any], ranks_before: int) -> None:
    """Convert what is done for another number of ranks: about as many images and steps of the schedule.

    Args:
        trainer: of the resumed run.
        fit: the saved fit, changed in place.
        ranks_before: number of ranks that saved it.
    """
    batches = fit["batches"] * ranks_before // trainer.world_size
    fit["batches"] = batches - batches % trainer.accumulate_grad_batches
    fit["scheduler"]["last_epoch"] = fit["scheduler"]["last_epoch"] * ranks_before // trainer.world_size
