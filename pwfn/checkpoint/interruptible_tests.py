"""End a test or a validation, of which every rank has batches left, when the run is asked to stop."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.trainer.states import TrainerFn
from typing_extensions import override

from pwfn.training import distributed
from pwfn.training.signals import StopNow, StopRequest, stopped_by


class InterruptibleTests(Callback):
    """Heed signals between the batches of tests and validations.

    A test, and a validation outside of a fit, ends with StopNow: its caller knows what to save. A validation
    within a fit follows the last step of an epoch and decides nothing, so the epoch is saved as done.

    Args:
        stop: holds the signal that asks the run to stop.
    """

    def __init__(self, stop: StopRequest) -> None:
        self.stop = stop
        self._common_batches: float = 0  # of the present test or validation, on every rank

    @abstractmethod
    def save_epoch(self) -> None:
        """Save the run at the end of the present epoch."""

    def heed(self) -> None:
        """Raise StopNow on every rank where any is asked to stop; every rank has to call it."""
        if asked := distributed.all_reduce_max(self.stop.signal):
            raise StopNow(asked)

    @override
    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.stop.install()
        self._common_batches = _common(trainer.num_test_batches)

    @override
    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.stop.install()
        self._common_batches = _common(trainer.num_val_batches)

    @override
    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: Any, **__: Any
    ) -> None:
        if batch_idx < self._common_batches:
            self.heed()

    @override
    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: Any, **__: Any
    ) -> None:
        if batch_idx >= self._common_batches:
            return
        try:
            self.heed()
        except StopNow as asked:
            if trainer.state.fn != TrainerFn.FITTING:
                raise
            self.save_epoch()
            raise stopped_by(asked.number) from None


def _common(batches: Sequence[int | float]) -> float:
    """Count the batches that every rank has: none where ranks of a stream do not know how many they have."""
    own = sum(batches)
    if not distributed.is_distributed():
        return own
    return -distributed.all_reduce_max(-int(own) if own < math.inf else 0)
