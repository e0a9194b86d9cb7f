"""Go through the whole schedule without training."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor, nn

from pwfn.bayesian.flat_weights import FlatWeights
from pwfn.bayesian.posterior import quantized_tensors
from pwfn.clustering.tolerance import Gradients
from pwfn.preview.displacement import Moves, Spread, TensorMove, spread, tensor_moves
from pwfn.preview.expected_size import ExpectedSize, expected_size, other_bytes, stored_bytes, symbol_counts
from pwfn.records.columns import Column, Record, order_shares, real, whole
from pwfn.records.rounds import Scores
from pwfn.run.rounds.round_loop import RoundLoop, RoundOutcome
from pwfn.run.settings import TrainSettings
from pwfn.training.phase import Phase

Images = Callable[[int], Tensor]  # gives so many training images


def _spread(key: str, what: str, unit: str) -> dict[str, Any]:
    mean = Column(f"{key}_mean", f"mean over all quantized weights, free ones included, of {what}", unit)
    p99 = Column(f"{key}_p99", f"what 99 % of the quantized weights do not exceed in {what}", unit)
    largest = Column(f"{key}_max", f"the largest over all quantized weights of {what}", unit)
    return {"columns": (mean, p99, largest), "join": lambda parts: Spread(*parts)}


def _size() -> dict[str, Any]:
    fp32 = Column("fp32_mb", "the network as it is, all tensors", "MB (10^6 bytes)")
    entropy = Column("entropy_mb", "indices at their entropy, free weights, everything else as it is", fp32.unit)
    fixed = Column("fixed_mb", "the same with index_bits for every index, and the codebook", fp32.unit)
    bits = Column("index_bits", "bits of an index of fixed width", "bits", int)
    return {"columns": (fp32, entropy, fixed, bits), "join": lambda parts: ExpectedSize(*parts)}


@dataclass(frozen=True, kw_only=True)
class DryRunRecord(Record):
    """Hold the numbers of one round without training; `columns` gives the meaning and unit of each."""

    round: int = whole("round", "which round this is; counted from 0 here, from 1 on the console", "rounds")
    fraction: float = real("fraction", "quantized weights that are fixed after this round", "share")
    codebook_size: int = whole("codebook_size", "centroids in use", "values")
    entropy_bits: float = real("entropy_bits", "entropy of the exact values of all quantized weights", "bits/weight")
    tensor_values: int = whole("tensor_values", "distinct values of the tensor that has most of them", "values")
    tensor_entropy_bits: float = real(
        "tensor_entropy_bits", "mean entropy of the values within each tensor", "bits/weight"
    )
    size: ExpectedSize = field(metadata=_size())
    order_share: tuple[float, ...] | None = field(metadata=order_shares())
    threshold: float = real("threshold", "farthest a weight could move at the end of the clustering", "tolerances")
    relative: Spread = field(metadata=_spread("relative", "|move| / |starting weight|, if that is not 0", "share"))
    tolerances: Spread = field(
        metadata=_spread("tolerances", "|move| / starting tolerance (a sigma by default), at least 2^-20", "tolerances")
    )
    cluster_seconds: float = real("cluster_seconds", "wall time of this round's clustering", "seconds")


class Untrained:
    """Take the place of the trainer: train nothing, and have no scores.

    `gradients` looks at training images, for a tolerance that has to; `images` gives them, for such a clustering.
    """

    steps = 0

    def __init__(self, gradients: Gradients | None = None, images: Images | None = None) -> None:
        self._gradients, self._images = gradients, images
        self._looked: dict[int, Tensor] = {}  # the squared gradients over so many batches

    def fit(self, phase: Phase) -> None:
        """Train nothing."""

    def test(self) -> Scores:
        """Return scores that are no numbers."""
        return Scores(math.nan, math.nan, math.nan)

    def validate(self) -> None:
        """Return no scores."""

    def new_statistics(self, images: int) -> tuple[int, int]:
        """Gather nothing, from no image."""
        del images  # nothing was trained
        return 0, 0

    def squared_gradients(self, batches: int) -> Tensor:
        """Return the starting weights' squared gradients over training images, if the tolerance needs them.

        They are computed once: a pass over images costs more than all rounds together.

        Raises:
            RuntimeError: none can be had.
        """
        if self._gradients is None:
            raise RuntimeError("a dry run with a tolerance that is made of gradients needs images")
        if batches not in self._looked:
            self._looked[batches] = self._gradients(batches)
        return self._looked[batches].clone()  # a tolerance may work in place

    def kronecker_diagonal(self, images: int) -> Tensor:
        """Return what Kronecker factors of so many training images say of the starting weights."""
        return self.squared_gradients(images)

    def calibration_images(self, count: int) -> Tensor:
        """Return training images, where the clustering needs them.

        Raises:
            RuntimeError: there are none.
        """
        if self._images is None:
            raise RuntimeError("a dry run with a clustering that looks at images needs some")
        return self._images(count)

    def placed(self) -> AbstractContextManager[None]:
        """Leave the network on the CPU."""
        return nullcontext()


class DryRun:
    """Cluster a Bayesian network whose sigmas are set, round by round, and remember where it started.

    Args:
        network: Bayesian.
        settings: of the run.
        gradients: gives what the tolerance looks at; None: it looks at none.
        images: gives so many training images; None: the clustering looks at none.
    """

    def __init__(
        self,
        network: nn.Module,
        settings: TrainSettings,
        gradients: Gradients | None = None,
        images: Images | None = None,
    ) -> None:
        self.tensors = quantized_tensors(network)
        self.start = FlatWeights.of(self.tensors)
        self.other_bytes = other_bytes(network)
        form = settings.artifact.plain
        self.stored_bytes = self.other_bytes if form == "exact" else stored_bytes(network, form)
        self.per_tensor = settings.codebook.per_tensor
        self.loop = RoundLoop(
            Untrained(gradients, images),
            network,
            replace(settings.schedule, first_epochs=0, rest_epochs=0),
            settings.clustering,
            settings.codebook,
            settings.sigma_join,
            settings.optimizer,
            settings.tolerance,
        )
        self.moves = Moves(self.start.mu, self.loop.tolerance_of(self.start), self.start.mu)

    @property
    def zeros(self) -> int:
        """Count the weights that start at exactly 0, which have no relative move."""
        return int((self.start.mu == 0).sum())

    def rounds(self) -> Iterator[DryRunRecord]:
        """Cluster round by round; moves are always from the starting weights, in starting tolerances."""
        for outcome in self.loop.rounds():
            self.moves = replace(self.moves, now=outcome.result.mu)
            yield self._record(outcome)

    def _record(self, outcome: RoundOutcome) -> DryRunRecord:
        one, result, weights = outcome.record, outcome.result, self.start.mu.numel()
        counts = symbol_counts(result.assignment, [t.mu.numel() for t in self.tensors], result.codebook.numel())
        assert one.tensor_values is not None
        assert one.tensor_entropy_bits is not None
        return DryRunRecord(
            round=one.round,
            fraction=one.fraction,
            codebook_size=one.codebook_size,
            entropy_bits=one.entropy_bits,
            tensor_values=one.tensor_values,
            tensor_entropy_bits=one.tensor_entropy_bits,
            size=expected_size(counts, self.other_bytes, stored_bytes=self.stored_bytes, per_tensor=self.per_tensor),
            order_share=one.order_share,
            threshold=one.threshold,
            relative=spread(self.moves.relative, weights),
            tolerances=spread(self.moves.in_tolerances, weights),
            cluster_seconds=one.cluster_seconds,
        )

    def layers(self) -> list[TensorMove]:
        """Return how far each tensor is from its start by now, the farthest first."""
        return tensor_moves(self.moves, [t.name for t in self.tensors], [t.mu.numel() for t in self.tensors])
