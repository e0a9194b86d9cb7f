"""The column loop and its refinement against loops written out, and exhaustive search."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

from pwfn.clustering.column_loop import HELD, Choices, LayerProblem, column_loop, inverse_factor, refine


def layer(seed: int, groups: int = 2, rows: int = 3, columns: int = 5, **masks: Any) -> LayerProblem:
    torch.manual_seed(seed)
    inputs = torch.randn(groups, 4 * columns, columns).double()
    return LayerProblem(
        torch.randn(groups, rows, columns).double(),
        inputs.mT @ inputs + 0.1 * torch.eye(columns).double(),
        torch.rand(groups, rows).double() + 0.1,
        **masks,
    )


def choices(seed: int, count: int = 9, price: float = 0.3) -> Choices:
    torch.manual_seed(seed)
    return Choices(torch.linspace(-2, 2, count).double(), price * torch.rand(count).double())


def naive_loop(problem: LayerProblem, of: tuple[Choices, Choices], kept: Tensor) -> Tensor:
    """The equations of the module, weight by weight."""
    weights = problem.weights.clone()
    groups, rows, columns = weights.shape
    for g in range(groups):
        inverse = torch.linalg.inv(problem.inputs[g])
        upper = torch.linalg.cholesky(inverse, upper=True)
        for o in range(rows):
            for j in range(columns):
                now = float(weights[g, o, j])
                own = of[int(problem.has_bias and j == columns - 1)]
                costs = [
                    float(problem.outputs[g, o]) * (now - c) ** 2 / (2 * float(upper[j, j]) ** 2) + p
                    for c, p in zip(own.values.tolist(), own.prices.tolist(), strict=True)
                ]
                new = own.values[costs.index(min(costs))].item()
                if problem.free is not None and problem.free[g, o, j]:
                    new = now
                if problem.held is not None and problem.held[g, o, j]:
                    new = float(kept[g, o, j])
                for k in range(j + 1, columns):
                    weights[g, o, k] -= (now - new) / upper[j, j] * upper[j, k]
                weights[g, o, j] = new
    return weights


@pytest.mark.parametrize("has_bias", [False, True])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("columns", [1, 5, 70, 130])
def test_the_loop_is_the_one_written_out(columns: int, masked: bool, has_bias: bool) -> None:
    torch.manual_seed(1)
    shape = (2, 3, columns)
    held = torch.rand(shape) < 0.3
    masks = {"held": held, "free": (torch.rand(shape) < 0.3) & ~held} if masked else {}
    problem = layer(0, columns=columns, has_bias=has_bias, **masks)
    of, kept = (choices(1), choices(2, 5)), torch.randn(shape).double()
    places, values = column_loop(problem, inverse_factor(problem.inputs), of, kept)
    torch.testing.assert_close(values, naive_loop(problem, of, kept), rtol=1e-8, atol=1e-8)
    skipped = torch.zeros(shape, dtype=torch.bool) if not masked else masks["held"] | masks["free"]
    assert torch.equal(places == HELD, skipped)
    if masked:
        assert torch.equal(values[held], kept[held])
    end = columns - int(has_bias)
    chosen = ~skipped[:, :, :end]
    assert torch.equal(of[0].values[places[:, :, :end][chosen]], values[:, :, :end][chosen])


def priced(problem: LayerProblem, values: Tensor, of: Choices) -> Tensor:
    """What is minimized: nats for each output."""
    prices = of.prices[(values[..., None] - of.values).abs().argmin(-1)]
    return problem.cost(values) + prices.sum(2)


def test_the_factor_is_that_of_the_inverse() -> None:
    problem = layer(3, columns=40)
    upper = inverse_factor(problem.inputs)
    torch.testing.assert_close(upper.mT @ upper, torch.linalg.inv(problem.inputs))
    assert torch.equal(upper, upper.triu())


@pytest.mark.parametrize("seed", range(10))
def test_three_weights_come_near_the_best_of_all_combinations(seed: int) -> None:
    problem, of = layer(seed, columns=3), choices(seed)
    places, values = column_loop(problem, inverse_factor(problem.inputs), (of, of), problem.weights)
    rounded = of.values[(problem.weights[..., None] - of.values).abs().argmin(-1)]
    found = priced(problem, values, of)
    for _ in range(3):
        places, values = refine(problem, places, values, (of, of))
        now = priced(problem, values, of)
        assert (now <= found + 1e-12).all()
        found = now
    every = torch.tensor(list(itertools.product(of.values.tolist(), repeat=3))).double()
    best = torch.stack([priced(problem, one.expand(2, 3, 3), of) for one in every]).amin(0)
    assert (found >= best - 1e-12).all()
    assert float(found.sum()) <= float(priced(problem, rounded, of).sum()) + 1e-12
    assert float(found.sum()) <= 1.15 * float(best.sum())


@pytest.mark.parametrize("columns", [1, 7, 150])
def test_refinement_never_costs_more_and_leaves_what_is_held(columns: int) -> None:
    torch.manual_seed(4)
    shape = (2, 3, columns)
    held = torch.rand(shape) < 0.3
    free = (torch.rand(shape) < 0.3) & ~held
    problem, of, kept = layer(5, columns=columns, held=held, free=free), choices(6), torch.randn(shape).double()
    places, values = column_loop(problem, inverse_factor(problem.inputs), (of, of), kept)
    before = values.clone()
    for _ in range(3):
        places, values = refine(problem, places, values, (of, of))
    chosen = ~(held | free)
    total = [
        float(problem.cost(one).sum() + of.prices[(one[..., None] - of.values).abs().argmin(-1)][chosen].sum())
        for one in (before, values)
    ]
    assert total[1] <= total[0] + 1e-9
    assert torch.equal(values[held], kept[held])
    assert torch.equal(of.values[places[chosen]], values[chosen])
    assert (places[~chosen] == HELD).all()


def test_what_has_no_curvature_goes_where_it_is_cheapest() -> None:
    of = Choices(torch.tensor([-1.0, 0.0, 1.0]).double(), torch.tensor([0.5, 0.1, 0.2]).double())
    problem = LayerProblem(
        torch.tensor([[[0.9, -0.8]]]).double(), torch.eye(2).double()[None], torch.zeros(1, 1).double()
    )
    _, values = column_loop(problem, inverse_factor(problem.inputs), (of, of), problem.weights)
    assert values.tolist() == [[[0.0, 0.0]]]


@pytest.mark.parametrize("seed", range(4))
def test_the_cheapest_of_many_values_is_that_of_all_compared(seed: int) -> None:
    """Few cheap values among many dear ones, ties in price, and weights exactly between two values."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.arange(-40, 41, dtype=torch.float64) / 16
    prices = torch.full((81,), 3.0, dtype=torch.float64)
    cheap = torch.randperm(81, generator=generator)[:9]
    prices[cheap] = torch.randint(0, 3, (9,), generator=generator).double()
    weights = torch.randint(-90, 91, (50, 40), generator=generator).double() / 32
    stiffness = torch.rand((50, 40), generator=generator, dtype=torch.float64) * 100
    found = Choices(values, prices).cheapest(weights, stiffness)
    costs = stiffness[..., None] * (weights[..., None] - values).square() + prices
    assert torch.equal(found, costs.argmin(2))
    assert torch.isin(found, cheap).any()
    assert not torch.isin(found, cheap).all()
