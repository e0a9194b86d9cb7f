"""Train and test the network of a run with one Lightning Trainer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from pytorch_lightning import Trainer
from pytorch_lightning.utilities.exceptions import SIGTERMException
from torch import Tensor

from pwfn.checkpoint.callback import Saver
from pwfn.data.loading.feed import Batch
from pwfn.data.module import ImageDataModule
from pwfn.errors import Stopped
from pwfn.models.batchnorm import reestimate
from pwfn.models.precision import Computing
from pwfn.records.rounds import Scores
from pwfn.run.rounds.tolerance_gradients import gradients_of_batches, gradients_of_factors
from pwfn.training.distributed import broadcast_statistics, check_same
from pwfn.training.module import BayesianClassifier
from pwfn.training.phase import Phase


class LightningRunner:
    """Train each phase with a fresh optimizer, while the epochs and steps of one Trainer count on.

    Args:
        trainer: the one trainer of the run.
        module: trains the network.
        data: gives the images.
        saver: saves while fits go on; None: nothing is saved.
    """

    def __init__(
        self, trainer: Trainer, module: BayesianClassifier, data: ImageDataModule, saver: Saver | None = None
    ) -> None:
        self.trainer, self.module, self.data, self.saver = trainer, module, data, saver

    @property
    def steps(self) -> int:
        """Count the optimizer steps since the beginning of the run."""
        return self.trainer.global_step

    def fit(self, phase: Phase) -> None:
        """Train one phase, or what is left of it in a resumed run."""
        if phase.epochs == 0:
            return
        first = self.trainer.current_epoch if self.saver is None else self.saver.begin_fit()
        if self.trainer.current_epoch < first + phase.epochs:  # a resumed fit may have been at its end
            self.module.begin(phase)
            self.data.train_share = phase.share
            self.data.batches_done = 0 if self.saver is None else self.saver.batches_done
            self.trainer.fit_loop.max_epochs = first + phase.epochs
            self._call(self.trainer.fit)
            broadcast_statistics(self.module.network)
            # at once: testing, clustering and the next fit begin by giving every rank what rank 0 has
            check_same(self.module.network, f"after the training of {phase.label}")
        if self.saver is not None:
            self.saver.end_fit()

    def test(self) -> Scores:
        """Return the scores on the test split, at the mean weights."""
        self._call(self.trainer.test, verbose=False)
        if self.module.scores is None:
            raise RuntimeError("the test split was not run")
        return self.module.scores

    def validate(self) -> Scores | None:
        """Return the scores on the validation images, at the mean weights; None if there are none."""
        if self.data.partition is None or self.data.partition.val is None:
            return None
        self._call(self.trainer.validate, verbose=False)
        return self.module.validation_scores

    def squared_gradients(self, batches: int) -> Tensor:
        """Average the squared gradients of each quantized weight over batches of training images.

        The images are those of this rank; the result is on the CPU.
        """
        with self.placed():
            return gradients_of_batches(self.module.network, self.data)(batches).cpu()

    def kronecker_diagonal(self, images: int) -> Tensor:
        """Estimate each quantized weight's squared gradient from Kronecker factors of so many images.

        The images are those of this rank; the result is on the CPU.
        """
        with self.placed():
            return gradients_of_factors(self.module.network, self.data)(images).cpu()

    def calibration_images(self, count: int) -> Tensor:
        """Return this rank's share of so many training images, as they are tested: [images, channels, H, W]."""
        return self.data.calibration_images(count)

    def new_statistics(self, images: int) -> tuple[int, int]:
        """Gather BatchNorm's statistics anew over so many training images.

        Every rank looks at its own share of the images; all end with the statistics of rank 0.

        Returns:
            How many layers there are, and how many images were used.
        """
        with self.placed() as device:
            on = Computing(device, str(self.trainer.precision))
            done = reestimate(self.module.network, self._interruptible(self.data.batches_outside_fits()), on, images)
        broadcast_statistics(self.module.network)
        return done

    def _interruptible(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Yield batches, as many on every rank, until the run is asked to stop."""
        for batch in batches:
            if self.saver is not None:
                self.saver.heed()
            yield batch

    @contextmanager
    def placed(self) -> Iterator[torch.device]:
        """Move the network to where it is trained; Lightning ends each fit and test by moving it back."""
        network, device = self.module.network, self.trainer.strategy.root_device
        before = next(network.parameters()).device
        network.to(device)
        try:
            yield device
        finally:
            network.to(before)

    def _call(self, stage: Callable[..., Any], **options: Any) -> None:
        """Lightning ends the program by itself after a signal, after SIGTERM even as if all had gone well."""
        try:
            stage(self.module, datamodule=self.data, **options)
        except SIGTERMException:
            raise Stopped("SIGTERM", 143) from None
        except SystemExit:
            if not self.trainer.interrupted:
                raise
            raise Stopped("Ctrl-C", 130) from None
