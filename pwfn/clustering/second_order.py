"""Specify second-order clustering, and choose the values of one layer by it: curvature against bits."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import override

from pwfn.clustering.column_loop import Choices, LayerProblem, column_loop, inverse_factor, nearest_places, refine
from pwfn.clustering.rules import Rule
from pwfn.errors import require

REFINEMENTS = 2  # times that all columns of a layer are chosen again, each by itself
# Images at which half of the compensation is left. What it learned of 34 photographs did not hold for others (ImageNet
# weights, 224 pixels); with 2,048 small images a little less than all of it was worse.
HALF_IMAGES = 200.0
UNSEEN = 0.1  # weights that are counted at each value beside those it has, so that every value has a code


@dataclass(frozen=True)
class SecondOrder(Rule):
    """Choose the cheapest values: the predicted change of the loss, plus `rate` for each bit of a code.

    What one weight's move costs is made good by those that are still to be chosen (`pwfn.clustering.column_loop`). A
    value costs the bits of an ideal code for the values of its tensor, as `model.pwfn` has them.

    Attributes:
        rate: nats of the loss, per image, that one bit is worth; from 0.
        damping: added to the diagonal of each input factor, as a share of its mean; above 0 to 1.
        passes: how often the columns of each layer are gone through, with the code lengths of the time before; from 1.
        images: how many training images, without their labels, the curvature is estimated from; from 2.
        shrink: number of images at which the mean of a layer's output factors counts as much as each of them; from 0.
        guard: whether the predicted change of the loss is held against the measured one.
        compensation: how far other weights make good what one weight's move costs: the share of an input factor that is
            left off its diagonal; 0 to 1. None: the fewer images, the less; half of it with `HALF_IMAGES`.
        output_factors: whether each output counts by its own factor; else all outputs of a layer by their mean.
    """

    rate: float = 1e-8
    damping: float = 0.01
    passes: int = 3
    images: int = 2048
    shrink: float = 64.0
    guard: bool = True
    compensation: float | None = None
    output_factors: bool = True

    def __post_init__(self) -> None:
        require(
            self,
            rate=(0 <= self.rate < math.inf, "a number from 0"),
            damping=(0 < self.damping <= 1, "above 0 and at most 1"),
            passes=(self.passes >= 1, "an integer from 1"),
            images=(self.images >= 2, "an integer from 2"),
            shrink=(0 <= self.shrink < math.inf, "a number from 0"),
            compensation=(
                self.compensation is None or 0 <= self.compensation <= 1,
                "a number from 0 to 1, or null",
            ),
        )

    def compensation_of(self, images: int) -> float:
        """Return the compensation with statistics of so many images."""
        return images**2 / (images**2 + HALF_IMAGES**2) if self.compensation is None else self.compensation

    @property
    @override
    def calibration_images(self) -> int:
        return self.images


def code_lengths(places: Tensor, count: int) -> Tensor:
    """Return the bits of an ideal code of each of `count` values for weights at `places`: float64 [count]."""
    found = torch.bincount(places.flatten(), minlength=count).double() + UNSEEN
    return (found.sum() / found).log2()


def coded_bits(places: Tensor, count: int) -> float:
    """Return the entropy, in bits, of all weights at `places` together."""
    found = torch.bincount(places.flatten(), minlength=count).double()
    found = found[found > 0]
    return float((found * (found.sum() / found).log2()).sum())


@dataclass(frozen=True)
class LayerCodes:
    """Hold the values on offer to a layer, and the codes of its weight's and its bias's numbers.

    Attributes:
        tables: for the weights and for the bias: float64, ascending.
        has_bias: whether the last column is a bias.
    """

    tables: tuple[Tensor, Tensor]
    has_bias: bool

    def _parts(self, values: Tensor, free: Tensor | None) -> list[tuple[Tensor, Tensor]]:
        """Return the table and the places of the weights, and of the bias, free ones left out."""
        chosen = torch.ones_like(values, dtype=torch.bool) if free is None else ~free
        end = values.shape[2] - int(self.has_bias)
        return [
            (table, nearest_places(table, values[:, :, columns][chosen[:, :, columns]]))
            for table, columns in zip(self.tables, (slice(0, end), slice(end, None)), strict=True)
        ]

    def choices(self, values: Tensor, free: Tensor | None, rate: float) -> tuple[Choices, Choices]:
        """Price the values by how often each of them is taken now.

        Args:
            values: What the numbers are now [groups, rows, columns].
            free: Which of them count for nothing, bool, of the same shape; None: none.
            rate: Nats of the loss, per image, that one bit of the code is worth.

        Returns:
            The choices for the weights, and those for the bias.
        """
        weights, bias = (
            Choices(table, rate * code_lengths(places, len(table))) for table, places in self._parts(values, free)
        )
        return weights, bias

    def bits(self, values: Tensor, free: Tensor | None) -> float:
        """Return the bits of an ideal code for these values."""
        return sum(coded_bits(places, len(table)) for table, places in self._parts(values, free))

    def rounded(self, problem: LayerProblem, weights: Tensor) -> Tensor:
        """Return the values nearest to `weights`, what is held or free where it is."""
        end = weights.shape[2] - int(self.has_bias)
        columns = [
            table[nearest_places(table, one)]
            for table, one in zip(self.tables, (weights[:, :, :end], weights[:, :, end:]), strict=True)
        ]
        values = torch.cat(columns, 2)
        for mask in (problem.held, problem.free):
            values = values if mask is None else torch.where(mask, weights, values)
        return values


def choose_layer(problem: LayerProblem, codes: LayerCodes, rule: SecondOrder, kept: Tensor) -> Tensor:
    """Choose the values of one layer.

    Args:
        problem: the layer; `problem.weights` is what is best without a codebook.
        codes: the values on offer.
        rule: how much bits count, and how often the columns are gone through.
        kept: the weights before, which held ones keep [groups, rows, columns].

    Returns:
        The values, float64 [groups, rows, columns]; what is free has any value.
    """
    factor = inverse_factor(problem.inputs)
    values = codes.rounded(problem, kept)
    places = torch.empty(0)
    for step in range(rule.passes + REFINEMENTS):
        choices = codes.choices(values, problem.free, rule.rate)
        if step < rule.passes:
            places, values = column_loop(problem, factor, choices, kept)
        else:
            places, values = refine(problem, places, values, choices)
    return values


def damped(inputs: Tensor, damping: float, compensation: float = 1.0) -> Tensor:
    """Weaken what is off the diagonal of an input factor, and strengthen the diagonal.

    Args:
        inputs: float64 [groups, columns, columns].
        damping: added to the diagonal, as a share of its mean in each group.
        compensation: the share of what is off the diagonal that is left.

    Returns:
        A new factor of the same shape.

    Raises:
        ValueError: it is not finite.
    """
    if not bool(torch.isfinite(inputs).all()):
        raise ValueError("the inputs of a layer are not finite")
    diagonal = inputs.diagonal(dim1=1, dim2=2)
    mean = diagonal.mean(1, keepdim=True).clamp(min=1e-30)  # of inputs that are always zero, too
    return compensation * inputs + torch.diag_embed((1 - compensation) * diagonal + damping * mean)


def compensated(weights: Tensor, own: Tensor, cross: Tensor, damping: float, compensation: float = 1.0) -> Tensor:
    """Return the weights that give, with the inputs x of now, what `weights` gave with r of before.

    They minimize E|W' x - W r|^2, weakened and damped: W' = W C A^-1, with A what `damped` makes of E[x x^T], and C the
    same but for what E[r x^T] differs by, as far as there is compensation; without it they are the weights themselves.

    Args:
        weights: float64 [groups, rows, columns].
        own: E[x x^T], float64 [groups, columns, columns].
        cross: E[r x^T], likewise.
        damping: as for `damped`.
        compensation: likewise.
    """
    inputs = damped(own, damping, compensation)
    lower = torch.linalg.cholesky(inputs)
    mixed = inputs + compensation * (cross - own)
    return torch.cholesky_solve((weights @ mixed).mT, lower).mT


def cheapest_first(costs: Tensor, held: Tensor, count: int) -> Tensor:
    """Choose which weights are fixed: all that are held, then those whose moves cost least.

    Args:
        costs: what the move of each weight costs, not NaN [N].
        held: which of them are fixed already, bool [N].
        count: how many are to be fixed in all.

    Returns:
        Which weights are fixed, bool [N]; of equally cheap ones the first.
    """
    order = torch.where(held, -math.inf, costs).argsort(stable=True)
    chosen = held.clone()
    chosen[order[:count]] = True
    return chosen
