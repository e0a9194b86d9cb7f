"""Notice a loss that is not finite, at once or a few steps later without a wait for a GPU."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from pwfn.training.phase import TrainingDiverged
from pwfn.training.waiting import is_free_to_read


def diverged(value: Tensor, terms: Mapping[str, Tensor], *, where: str, lr_key: str, cause: str) -> TrainingDiverged:
    """Say that a loss is not finite.

    Args:
        value: the loss, a scalar.
        terms: what it is made of, scalars with their names.
        where: the phase and the step.
        lr_key: name of the learning rate in the configuration.
        cause: what else is not finite.

    Returns:
        The exception to raise.
    """
    shown = ", ".join(f"{name.replace('_', ' ')} {term.item()}" for name, term in terms.items())
    return TrainingDiverged(f"the loss is {value.item()} in {where} ({shown}): {cause}; try a smaller {lr_key}")


@dataclass(frozen=True)
class _Loss:
    """Hold one step's loss and its terms, on the device."""

    value: Tensor
    terms: Mapping[str, Tensor]
    where: str
    lr_key: str


class LossWatch:
    """Keep the losses of the last steps on their device and read them together.

    Args:
        every: steps from one reading to the next; 1 reads each loss at once, as it is always done on a CPU.
    """

    def __init__(self, every: int = 1) -> None:
        self.every = every
        self._kept: list[_Loss] = []

    def reads_at_once(self, loss: Tensor) -> bool:
        """Return whether `add` finds out at once that this loss is not finite."""
        return self.every == 1 or is_free_to_read(loss)

    def add(self, value: Tensor, terms: Mapping[str, Tensor], *, where: str, lr_key: str) -> None:
        """Note the loss of a step that cannot be read at once.

        Args:
            value: a scalar.
            terms: as in `diverged`.
            where: as in `diverged`.
            lr_key: as in `diverged`.

        Raises:
            TrainingDiverged: as `check`, which is done once in `every` steps.
        """
        detached = {name: term.detach() for name, term in terms.items()}
        self._kept.append(_Loss(value.detach(), detached, where, lr_key))
        if len(self._kept) >= self.every:
            self.check()

    def check(self) -> None:
        """Read all losses noted since the last reading, in one wait for the device.

        Raises:
            TrainingDiverged: one is not finite; the message is about the first of them.
        """
        kept, self._kept = self._kept, []
        if not kept:
            return
        finite = torch.isfinite(torch.stack([loss.value for loss in kept])).tolist()
        if not all(finite):
            first = kept[finite.index(False)]
            later = len(kept) - 1 - finite.index(False)
            cause = f"noticed {later} steps later; detect=immediate names the layer"
            raise diverged(first.value, first.terms, where=first.where, lr_key=first.lr_key, cause=cause)
