"""Choose the values of one layer column by column, each choice made good by the columns that follow.

Moving the weights of an output o by D_o costs 1/2 g_o D_o^T A D_o nats (`pwfn.curvature`). Column by column (Hassibi
and Stork 1993; Frantar and Alistarh 2022, arXiv:2208.11580; Frantar et al. 2022, arXiv:2210.17323; with a rate term as
in CERWU, arXiv:2505.18758), `U` being the upper Cholesky factor of the inverse of the damped A:

    q_j = argmin over values c of  g_o (w_j - c)^2 / (2 U_jj^2) + price of c
    w_k <- w_k - (w_j - q_j) / U_jj * U_jk    for all k > j
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

BLOCK = 64  # columns after which what they are behind is moved at once
MOST_NUMBERS = 1 << 22  # costs that are compared at once
HELD = -1  # the place of a weight that stays as it is


def nearest_places(values: Tensor, weights: Tensor) -> Tensor:
    """Return the place of the value nearest to each weight, the smaller of equally near ones.

    Args:
        values: float64, ascending [V].
        weights: float64, of any shape.
    """
    above = torch.searchsorted(values, weights.contiguous()).clamp_(max=len(values) - 1)
    below = (above - 1).clamp_(min=0)
    return torch.where((weights - values[below]).abs() <= (values[above] - weights).abs(), below, above)


@dataclass(frozen=True)
class Choices:
    """Hold the values that the weights of one tensor may take.

    Attributes:
        values: float64, ascending [V].
        prices: what a weight at each of them costs, in nats [V].
    """

    values: Tensor
    prices: Tensor

    def cheapest(self, weights: Tensor, stiffness: Tensor) -> Tensor:
        """Return the place of the value with the least `stiffness * (w - c)^2 + price`, the first of equals.

        Of the dearest values, which are most where few are in use, only the nearest to a weight can be its cheapest.

        Args:
            weights: of any shape.
            stiffness: of the same shape, not negative.
        """
        flat, stiff = weights.flatten(), stiffness.flatten()
        chosen = torch.empty(flat.shape, dtype=torch.int64, device=flat.device)
        size = max(1, MOST_NUMBERS // (len(self._cheaper) + 1))
        for start in range(0, len(flat), size):
            piece = slice(start, start + size)
            chosen[piece] = self._cheapest(flat[piece], stiff[piece])
        return chosen.view(weights.shape)

    def _cheapest(self, weights: Tensor, stiffness: Tensor) -> Tensor:
        nearest = nearest_places(self.values, weights)
        best = (weights - self.values[nearest]).square_().mul_(stiffness).add_(self.prices[nearest])
        if len(self._cheaper) == 0:
            return nearest
        values, prices = self.values[self._cheaper], self.prices[self._cheaper]
        costs = (weights[:, None] - values).square_().mul_(stiffness[:, None]).add_(prices)
        least, at = costs.min(1)
        other = self._cheaper[at]
        return torch.where((least < best) | ((least == best) & (other < nearest)), other, nearest)

    @cached_property
    def _cheaper(self) -> Tensor:
        """Return the places of all values but the dearest."""
        return (self.prices < self.prices.max()).nonzero().flatten()


@dataclass(frozen=True)
class LayerProblem:
    """Hold the weights of a linear map, what their moves cost, and which of them may move.

    Attributes:
        weights: what is best without a codebook, float64 [groups, rows, columns]; the last column is the bias, if any.
        inputs: the damped input factor A, float64 [groups, columns, columns], positive definite.
        outputs: the output factor g, float64 [groups, rows], not negative.
        has_bias: whether the last column is a bias.
        held: weights that stay as they are, bool [groups, rows, columns]; None: none.
        free: weights that get no value yet and only make good what others do; None: none.
    """

    weights: Tensor
    inputs: Tensor
    outputs: Tensor
    has_bias: bool = False
    held: Tensor | None = None
    free: Tensor | None = None

    def cost(self, values: Tensor) -> Tensor:
        """Predict what `values` [groups, rows, columns] in place of the weights cost, in nats: [groups, rows]."""
        moved = values - self.weights
        cost: Tensor = 0.5 * self.outputs * (moved @ self.inputs * moved).sum(2)
        return cost

    @property
    def stiffness(self) -> Tensor:
        """Return the second derivative of the loss by each weight: [groups, rows, columns]."""
        return self.outputs[:, :, None] * self.inputs.diagonal(dim1=1, dim2=2)[:, None, :]

    def of_column(self, choices: tuple[Choices, Choices], column: int) -> Choices:
        """Return what the weights of a column may become, of the choices for weights and for the bias."""
        return choices[int(self.has_bias and column == self.weights.shape[2] - 1)]

    def settle(self, column: int, now: Tensor, place: Tensor, values: Tensor, kept: Tensor) -> tuple[Tensor, Tensor]:
        """Leave what is held where it was (`kept`), and what is free where it is (`now`).

        Args:
            column: Which one of `weights`.
            now: What its free weights become, float64 [groups, rows].
            place: Where their values are in the table, int64 [groups, rows].
            values: The values chosen for them, float64 [groups, rows].
            kept: What its held weights are, float64 [groups, rows].

        Returns:
            `place`, HELD where no value was chosen, and `values` with what stays.
        """
        for mask, stays in ((self.free, now), (self.held, kept)):
            if mask is not None:
                of_column = mask[:, :, column]
                place = torch.where(of_column, HELD, place)
                values = torch.where(of_column, stays, values)
        return place, values


def inverse_factor(inputs: Tensor) -> Tensor:
    """Return the upper triangular U with A^-1 = U^T U.

    Args:
        inputs: A, float64 [groups, columns, columns], positive definite.

    Raises:
        torch.linalg.LinAlgError: A is not.
    """
    upper = torch.linalg.cholesky(inputs.flip(1, 2)).flip(1, 2)  # A = upper upper^T
    identity = torch.eye(inputs.shape[1], dtype=inputs.dtype, device=inputs.device).expand_as(inputs)
    inverse: Tensor = torch.linalg.solve_triangular(upper, identity, upper=True)
    return inverse


def column_loop(
    problem: LayerProblem, factor: Tensor, choices: tuple[Choices, Choices], kept: Tensor
) -> tuple[Tensor, Tensor]:
    """Choose a value for each weight of a layer, column by column.

    Args:
        problem: the layer.
        factor: `inverse_factor` of its inputs.
        choices: the values for weights, and those for the bias.
        kept: the values of held weights [groups, rows, columns]; the others are not looked at.

    Returns:
        The place of each value among the choices, int64, and the values, both [groups, rows, columns]. The place of
        weights that are held or free is -1.
    """
    weights = problem.weights.clone()
    groups, rows, columns = weights.shape
    places = torch.empty(weights.shape, dtype=torch.int64, device=weights.device)
    diagonal = factor.diagonal(dim1=1, dim2=2)
    for start in range(0, columns, BLOCK):
        end = min(start + BLOCK, columns)
        errors = weights.new_empty(groups, rows, end - start)
        for j in range(start, end):
            own, now = problem.of_column(choices, j), weights[:, :, j]
            place = own.cheapest(now, problem.outputs / (2 * diagonal[:, j, None] ** 2))
            place, values = problem.settle(j, now, place, own.values[place], kept[:, :, j])
            error = (now - values) / diagonal[:, j, None]
            weights[:, :, j + 1 : end] -= error[:, :, None] * factor[:, j, None, j + 1 : end]
            weights[:, :, j], places[:, :, j], errors[:, :, j - start] = values, place, error
        weights[:, :, end:] -= errors @ factor[:, start:end, end:]
    return places, weights


def refine(
    problem: LayerProblem, places: Tensor, values: Tensor, choices: tuple[Choices, Choices]
) -> tuple[Tensor, Tensor]:
    """Choose each column again while all others stay (coordinate descent): what is minimized cannot grow.

    Args:
        problem: the layer.
        places: as `column_loop` returns them.
        values: likewise.
        choices: the values for weights, and those for the bias.

    Returns:
        Places and values.
    """
    places, values = places.clone(), values.clone()
    columns = values.shape[2]
    diagonal = problem.inputs.diagonal(dim1=1, dim2=2)
    pull = (values - problem.weights) @ problem.inputs
    for start in range(0, columns, BLOCK):
        end = min(start + BLOCK, columns)
        before = values[:, :, start:end].clone()
        for j in range(start, end):
            own, now, stiff = problem.of_column(choices, j), values[:, :, j].clone(), diagonal[:, j, None]
            best = now - pull[:, :, j] / stiff
            place = own.cheapest(best, problem.outputs * stiff / 2)
            free = best if problem.free is None else torch.where(problem.free[:, :, j], best, now)
            place, chosen = problem.settle(j, free, place, own.values[place], now)
            step = chosen - now
            values[:, :, j], places[:, :, j] = chosen, place
            pull[:, :, start:end] += step[:, :, None] * problem.inputs[:, j, None, start:end]
        pull[:, :, end:] += (values[:, :, start:end] - before) @ problem.inputs[:, start:end, end:]
    return places, values


def scaled(problem: LayerProblem, by: float) -> LayerProblem:
    """Return the problem with moves that cost `by` times as much."""
    return replace(problem, outputs=problem.outputs * by)
